// A real server: `python -m server` in a process of its own, or the one that DIGITSERVE_SERVER names.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { fileURLToPath } from "node:url";

import { createClient, type Transport } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";

import { Recognizer } from "../src/digitserve/v1/recognizer_pb.js";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const PYTHON = process.env["DIGITSERVE_PYTHON"] ?? `${ROOT}.venv/bin/python`;
const MODELS = process.env["DIGITSERVE_MODELS"] ?? `${ROOT}models`;

export interface RunningServer {
  /** host:port. */
  readonly address: string;
  /** Ends it; twice is fine. Nothing happens to a server that was there already. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Waits for a server to serve. */
export async function findOrStartServer(): Promise<RunningServer> {
  const address = process.env["DIGITSERVE_SERVER"];
  return address ? { address, stop: () => Promise.resolve() } : startServer();
}

export async function startServer(port = 0): Promise<RunningServer> {
  if (!existsSync(PYTHON)) throw new Error(`there is no ${PYTHON} to start a server with: make run makes it`);
  const words = ["-m", "server", "--host", "127.0.0.1", "--port", `${port}`, "--models", MODELS];
  const environment = Object.entries(process.env).filter(([name]) => !name.startsWith("DIGITSERVE_"));
  const env = { ...Object.fromEntries(environment), PYTHONPATH: `${ROOT}:${ROOT}clients/python` };
  const server = spawn(PYTHON, words, { cwd: ROOT, stdio: ["ignore", "ignore", "pipe"], env });
  const ended = once(server, "exit");
  let said = "";
  for await (const text of server.stderr) {
    said += text;
    const found = /serving on (\S+:\d+)/.exec(said);
    if (!found) continue;
    const stop = async (signal: NodeJS.Signals = "SIGTERM") => {
      server.kill(signal);
      await ended;
    };
    return { address: found[1]!, stop };
  }
  throw new Error(`the server did not start:\n${said}`);
}

/** What README.md gives every transport on Node. */
export const NODE_OPTIONS = "nodeOptions: { maxSessionMemory: 1_000_000 }";

/** A transport on Node, made as README.md says. */
export function nodeTransport(address: string): Transport {
  return createGrpcTransport({ baseUrl: `http://${address}`, nodeOptions: { maxSessionMemory: 1_000_000 } });
}

/** A proxy from grpc-web to a server, as Envoy is one in a deployment. Every origin may call. */
export async function startProxy(address: string): Promise<{ url: string; proxy: Server }> {
  const upstream = createClient(Recognizer, nodeTransport(address));
  const proxy = createServer(
    connectNodeAdapter({
      routes: (router) => {
        router.service(Recognizer, {
          recognize: (request) => upstream.recognize(request),
          recognizeBatch: (request) => upstream.recognizeBatch(request),
          listModels: (request) => upstream.listModels(request),
        });
      },
    }),
  );
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  const bound = proxy.address();
  if (typeof bound !== "object" || !bound) throw new Error("the proxy has no address");
  return { url: `http://127.0.0.1:${bound.port}`, proxy };
}
