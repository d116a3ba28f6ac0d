// The examples of README.md run as they stand there, with the package as it is built, and print what they promise. A
// browser's examples have a proxy and a canvas to work with, but run on Node.

import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { afterAll, beforeAll, expect, test } from "vitest";

import { findOrStartServer, NODE_OPTIONS, ROOT, type RunningServer, startProxy } from "./server.js";

const PACKAGE = fileURLToPath(new URL("../", import.meta.url));
const FOLDER = `${PACKAGE}build/readme`;
const README = readFileSync(`${PACKAGE}README.md`, "utf8");
const BLOCKS = [...README.matchAll(/^```(\w*)\n(.*?)^```$/gms)];
const EXAMPLES = BLOCKS.map(([, kind, code], index) => ({ index, kind, code: code! })).filter(({ kind }) => kind === "js");

// What stands for the browser: a canvas with a 7 on it, and the page's address.
const PAGE = `
const data = new Uint8ClampedArray(4 * 280 * 280);
for (let at = 0; at < 280 * 280; at += 1) {
  const [x, y] = [at % 280, Math.floor(at / 280)];
  const isBar = y > 60 && y < 82 && x > 80 && x < 200;
  const isStem = y >= 60 && y < 220 && Math.abs(x - (195 - (y - 60) * 0.5)) < 11;
  if (isBar || isStem) data[4 * at + 3] = 255;
}
const image = { data, width: 280, height: 280 };
globalThis.location = { origin: process.env.PAGE };
globalThis.document = {
  querySelector: () => ({ width: 280, height: 280, getContext: () => ({ getImageData: () => image }) }),
};
`;

let server: RunningServer;
let proxy: Server;
let page: string;

beforeAll(async () => {
  execFileSync("npm", ["run", "--silent", "build"], { cwd: PACKAGE });
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(`${FOLDER}/page.mjs`, PAGE);
  server = await findOrStartServer();
  ({ url: page, proxy } = await startProxy(server.address));
});

afterAll(async () => {
  proxy.close();
  proxy.closeAllConnections();
  await server.stop();
  rmSync(`${PACKAGE}build`, { recursive: true });
});

test("README.md has examples of both uses", () => {
  // What is marked sh runs in install.test.ts.
  expect(new Set(BLOCKS.map(([, kind]) => kind))).toEqual(new Set(["js", "sh"]));
  expect(EXAMPLES.filter(({ code }) => code.includes("connect-web")).length).toBeGreaterThan(0);
  expect(EXAMPLES.filter(({ code }) => code.includes("connect-node")).length).toBeGreaterThan(0);
});

test("README.md makes every transport on Node so that a large upload spoils no other call", () => {
  for (const { code } of EXAMPLES) expect(code.includes(NODE_OPTIONS)).toBe(code.includes("createGrpcTransport({"));
});

test.each(EXAMPLES)("example $index prints what it promises", async ({ index, code }) => {
  const path = `${FOLDER}/example-${index}.mjs`;
  writeFileSync(path, code.replace("localhost:50051", server.address));
  const words = ["--import", `${FOLDER}/page.mjs`, path];
  const done = await promisify(execFile)("node", words, { cwd: ROOT, env: { ...process.env, PAGE: page } });
  const printed = done.stdout.trimEnd().split("\n");
  const promised = [...code.matchAll(/; \/\/ (.+)$/gm)].flatMap(([, promise]) => promise!.split(", then "));
  expect(promised.length).toBeGreaterThan(0);
  expect(printed.length).toBe(promised.length);
  for (const [line, promise] of promised.entries()) {
    if (!promise.startsWith("such as ")) expect(printed[line]).toBe(promise);
  }
  expect(done.stderr).toBe("");
});
