// A registry of npm on this machine, with what the package's users install beside it: no test needs a network.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";

const NAMES = ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web"];
/** There is always a newer version of protobuf than ours. Here it is ours, under this number and packed otherwise: npm would know it
 * by the checksum. */
export const NEWER = "2.99.0";

type Manifest = { name: string; version: string } & Record<string, unknown>;
type Packed = { name: string; version: string; filename: string }[];

/** Serves those of `modules`, by way of tarballs in `folder`. */
export async function startRegistry(modules: string, folder: string): Promise<{ url: string; registry: Server }> {
  const words = ["pack", "--json", "--ignore-scripts", "--loglevel=error", "--pack-destination", folder];
  const listed = execFileSync("npm", [...words, ...NAMES.map((name) => join(modules, name))], { encoding: "utf8" });
  const tarballs = new Map<string, Buffer>();
  for (const { name, version, filename } of JSON.parse(listed) as Packed) {
    const packed = readFileSync(join(folder, filename));
    tarballs.set(`${name}/${version}.tgz`, packed);
    if (name.endsWith("/protobuf")) tarballs.set(`${name}/${NEWER}.tgz`, gzipSync(gunzipSync(packed), { level: 1 }));
  }
  const registry = createServer((request, response) => {
    const path = decodeURIComponent(request.url!.slice(1));
    const url = `http://${request.headers.host}`;
    if (tarballs.has(path)) response.end(tarballs.get(path));
    else if (NAMES.includes(path)) response.end(JSON.stringify(describe(modules, path, url, tarballs)));
    else response.writeHead(404).end();
  });
  await once(registry.listen(0, "127.0.0.1"), "listening");
  const bound = registry.address();
  if (typeof bound !== "object" || !bound) throw new Error("the registry has no address");
  return { url: `http://127.0.0.1:${bound.port}`, registry };
}

function describe(modules: string, name: string, url: string, tarballs: Map<string, Buffer>) {
  const manifest = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8")) as Manifest;
  const versions: Record<string, Manifest> = {};
  for (const [path, bytes] of tarballs) {
    if (!path.startsWith(`${name}/`)) continue;
    const version = path.slice(name.length + 1, -".tgz".length);
    const integrity = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
    versions[version] = { ...manifest, version, dist: { tarball: `${url}/${path}`, integrity } };
  }
  return { name, "dist-tags": { latest: Object.keys(versions).at(-1) }, versions };
}
