// What the package promises about itself.

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { expect, test } from "vitest";

const PACKAGE = fileURLToPath(new URL("../", import.meta.url));

test("the lock file names versions and checksums, and no addresses to load them from", () => {
  const lock = readFileSync(`${PACKAGE}package-lock.json`, "utf8");
  expect(lock).not.toContain('"resolved"');
  expect(lock).toContain('"integrity"');
  expect(readFileSync(`${PACKAGE}.npmrc`, "utf8")).toContain("omit-lockfile-registry-resolved=true");
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
