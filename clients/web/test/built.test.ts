// The built page is checked in, so that nobody needs Node to serve it. It has to be what the source builds.

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "vite";
import { afterAll, beforeAll, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MOST_BYTES = 120_000;

async function read(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  const texts = files.sort().map(async (file) => [relative(folder, file), await readFile(file, "utf8")] as const);
  return new Map(await Promise.all(texts));
}

let fresh = "";
beforeAll(async () => {
  fresh = await mkdtemp(join(tmpdir(), "digitserve-page-"));
  await build({ root: ROOT, mode: "production", logLevel: "error", build: { outDir: fresh, emptyOutDir: true } });
}, 60_000);
afterAll(() => rm(fresh, { recursive: true }));

test("the built page is not stale (npm run build mends it)", async () => {
  expect(await read(join(ROOT, "dist"))).toEqual(await read(fresh));
});

test("the first load is small, and nothing of it is elsewhere or inline", async () => {
  const files = await read(join(ROOT, "dist"));
  const bytes = [...files.values()].reduce((sum, text) => sum + gzipSync(text).length, 0);
  expect(bytes).toBeLessThan(MOST_BYTES);
  const page = files.get("index.html")!;
  expect(page).not.toMatch(/https?:\/\/|<style|style=|<script(?![^>]*src=)|\son\w+=/);
});
