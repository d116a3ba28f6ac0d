// What the package promises about itself.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import { expect, test } from "vitest";

import { ROOT } from "./server.js";

const PACKAGE = fileURLToPath(new URL("../", import.meta.url));
const PYTHON = process.env["DIGITSERVE_PYTHON"] ?? `${ROOT}.venv/bin/python`;
const MAX_BUNDLE_BYTES = 40_000;

test("the generated code is that of the contract", () => {
  const fresh = mkdtempSync(join(tmpdir(), "digitserve-"));
  try {
    const plugin = `--plugin=protoc-gen-es=${PACKAGE}node_modules/.bin/protoc-gen-es`;
    const words = ["-m", "grpc_tools.protoc", "-I", `${ROOT}protos`, plugin, `--es_out=${fresh}`];
    const options = "--es_opt=target=ts,import_extension=js";
    execFileSync(PYTHON, [...words, options, "digitserve/v1/recognizer.proto"]);
    const path = "digitserve/v1/recognizer_pb.ts";
    const [checkedIn, now] = [`${PACKAGE}src/${path}`, join(fresh, path)].map((file) => readFileSync(file, "utf8"));
    expect(checkedIn === now, "src/digitserve/v1 is stale: npm run generate").toBe(true);
  } finally {
    rmSync(fresh, { recursive: true });
  }
});

test("the lock file names versions and checksums, and no addresses to load them from", () => {
  const lock = readFileSync(`${PACKAGE}package-lock.json`, "utf8");
  expect(lock).not.toContain('"resolved"');
  expect(lock).toContain('"integrity"');
  expect(readFileSync(`${PACKAGE}.npmrc`, "utf8")).toContain("omit-lockfile-registry-resolved=true");
});

test("a browser's bundle is small, and needs nothing of Node", async () => {
  const page = `
    import { DigitClient } from "./src/index.ts";
    import { createGrpcWebTransport } from "@connectrpc/connect-web";
    globalThis.client = new DigitClient(createGrpcWebTransport({ baseUrl: "/" }));`;
  const { outputFiles } = await build({
    stdin: { contents: page, resolveDir: PACKAGE, loader: "ts" },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    write: false,
  });
  const bytes = gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
  expect(bytes).toBeLessThanOrEqual(MAX_BUNDLE_BYTES);
  expect(readFileSync(`${PACKAGE}README.md`, "utf8")).toContain(
    `takes ${Math.round(bytes / 1_000)} kB of a browser's bundle`,
  );
});

test("no source imports a transport: that is the caller's", () => {
  const sources = readdirSync(`${PACKAGE}src`).filter((name) => name.endsWith(".ts"));
  expect(sources.length).toBeGreaterThan(5);
  for (const name of sources) {
    const text = readFileSync(`${PACKAGE}src/${name}`, "utf8");
    const modules = [...text.matchAll(/from "([^".][^"]*)"/g)].map(([, module]) => module);
    expect(modules.filter((module) => !/^(@bufbuild\/protobuf(\/wire)?|@connectrpc\/connect)$/.test(module!))).toEqual(
      [],
    );
  }
});
