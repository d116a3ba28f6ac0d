// A stranger's way: the package is packed and installed by the README's own commands, and what a page then loads is measured.

import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";

import { NEWER, startRegistry } from "./registry.js";

const PACKAGE = fileURLToPath(new URL("../", import.meta.url));
const README = readFileSync(`${PACKAGE}README.md`, "utf8");
const [PACK, INSTALL] = [...README.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, commands]) => commands!);
// npm and the compiler take seconds, and many of them on a busy machine.
const PATIENCE_MS = 180_000;
const MAX_BUNDLE_BYTES = 40_000;
const PAGE = `
  import { DigitClient } from "digitserve";
  import { createGrpcWebTransport } from "@connectrpc/connect-web";
  globalThis.client = new DigitClient(createGrpcWebTransport({ baseUrl: "/" }));`;

let folder: string;
let registry: Server;
let environment: NodeJS.ProcessEnv;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "digitserve-"));
  const checkout = join(folder, "digitserve/clients/js");
  for (const name of ["src", "README.md", "package.json", "tsconfig.json", "tsconfig.build.json"]) {
    cpSync(`${PACKAGE}${name}`, join(checkout, name), { recursive: true });
  }
  // What `npm ci` has made for these tests, too.
  symlinkSync(`${PACKAGE}node_modules`, join(checkout, "node_modules"));
  const started = await startRegistry(`${PACKAGE}node_modules`, folder);
  registry = started.registry;
  environment = { ...process.env, npm_config_registry: started.url, npm_config_cache: join(folder, "cache") };
  environment = { ...environment, npm_config_userconfig: join(folder, "none"), npm_config_audit: "false" };
  await run(PACK!.replace(/^npm ci$/m, ""), folder);
}, PATIENCE_MS);

afterAll(() => {
  registry.close();
  registry.closeAllConnections();
  rmSync(folder, { recursive: true });
});

/** What the commands print. Warnings are errors, but for those of the machine's own settings. */
async function run(commands: string, cwd: string): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)("sh", ["-ec", commands], { cwd, env: environment });
  expect(stderr).not.toMatch(/npm warn (?!Unknown)/i);
  return stdout;
}

/** A folder of that name beside the checkout, in which `command` has installed the package. */
async function install(name: string, command: string): Promise<string> {
  const project = join(folder, name);
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), "{}");
  await run(command, project);
  return project;
}

/** The versions of a package that are installed, copies that others brought included. */
function versionsOf(name: string, project: string): unknown[] {
  const text = readFileSync(join(project, "package-lock.json"), "utf8");
  const { packages } = JSON.parse(text) as { packages: Record<string, { version: string }> };
  const paths = Object.keys(packages).filter((path) => path.endsWith(`node_modules/${name}`));
  return paths.map((path) => packages[path]!.version);
}

/** Modules with their types, and nothing else. */
function expectWhatIsBuilt(installed: string) {
  const entries = readdirSync(installed, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map(({ parentPath, name }) => relative(installed, join(parentPath, name)));
  expect(paths).toEqual(expect.arrayContaining(["README.md", "package.json", "dist/index.js", "dist/index.d.ts"]));
  expect(paths.filter((path) => !/^(README\.md|package\.json|dist\/.+\.(js|d\.ts))$/.test(path))).toEqual([]);
}

/** No script that npm would run, or warn of, wherever the package is installed. */
function expectNothingToRun(installed: string) {
  const { scripts } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as { scripts: object };
  expect(Object.keys(scripts).filter((name) => /install$|^prepare$/.test(name))).toEqual([]);
}

test("README.md says how to pack and how to install", () => {
  expect(PACK).toMatch(/^npm ci\nnpm pack$/m);
  expect(INSTALL).toContain("digitserve-0.1.0.tgz");
});

test("what the README's commands install is small in a browser, and needs nothing of Node", async () => {
  const project = await install("page", INSTALL!);
  expect(versionsOf("@bufbuild/protobuf", project)).toEqual([expect.stringMatching(/^2\.12\./)]);
  expectWhatIsBuilt(join(project, "node_modules/digitserve"));
  expectNothingToRun(join(project, "node_modules/digitserve"));
  const { outputFiles } = await build({
    stdin: { contents: PAGE, resolveDir: project, loader: "js" },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    write: false,
  });
  const bytes = gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
  expect(bytes).toBeLessThanOrEqual(MAX_BUNDLE_BYTES);
  expect(README).toContain(`takes ${Math.round(bytes / 1_000)} kB of a browser's bundle`);
  const script = `import { DigitClient } from "digitserve"; console.log(DigitClient.name)`;
  expect(await run(`node --input-type=module -e '${script}'`, project)).toBe("DigitClient\n");
}, PATIENCE_MS);

test("whoever names no version of protobuf gets one copy of it all the same", async () => {
  const command = INSTALL!.replace(/ @bufbuild\S+/, " --package-lock-only");
  expect(versionsOf("@bufbuild/protobuf", await install("brief", command))).toEqual([NEWER]);
}, PATIENCE_MS);
