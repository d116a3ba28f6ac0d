import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: {
    // The client's source, so that the page needs no build of it before its own.
    alias: { digitserve: fileURLToPath(new URL("../js/src/index.ts", import.meta.url)) },
    // One copy of what both use: the page's.
    dedupe: ["@bufbuild/protobuf", "@connectrpc/connect"],
  },
  build: {
    target: "es2023",
    // The page's Content-Security-Policy has no room for data in scripts and styles, and one request more costs little.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    // `npm run dev` beside `make run`.
    proxy: { "/digitserve.v1.Recognizer": "http://127.0.0.1:8080" },
  },
  test: { include: ["test/**/*.test.ts"], maxWorkers: 1 },
});
