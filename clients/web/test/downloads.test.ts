// What the reader takes home: the archive of corrections, and the table.

import { expect, test } from "vitest";

import { csv } from "../src/csv.js";
import { corrections } from "../src/records.js";
import { crc32, zip } from "../src/zip.js";
import { record } from "./record.js";


/** Reads an archive by its directory, as unzip does. */
function unzip(archive: Uint8Array): Map<string, string> {
  const view = new DataView(archive.buffer);
  const end = archive.length - 22;
  expect(view.getUint32(end, true)).toBe(0x06054b50);
  const files = new Map<string, string>();
  let at = view.getUint32(end + 16, true);
  for (let i = 0; i < view.getUint16(end + 10, true); i += 1) {
    expect(view.getUint32(at, true)).toBe(0x02014b50);
    expect(view.getUint8(at + 5), "names of another system than Unix are in a code page").toBe(3);
    expect(view.getUint32(at + 38, true) >>> 16, "a file that nobody may read").toBe(0o100644);
    const nameLength = view.getUint16(at + 28, true);
    const start = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(archive.subarray(at + 46, at + 46 + nameLength));
    expect(view.getUint32(start, true)).toBe(0x04034b50);
    const from = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
    const bytes = archive.subarray(from, from + view.getUint32(at + 24, true));
    expect(crc32(bytes)).toBe(view.getUint32(at + 16, true));
    files.set(name, new TextDecoder().decode(bytes));
    at += 46 + nameLength;
  }
  expect(at).toBe(end);
  return files;
}

test("the checksum is the one that everybody uses", () => {
  expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf43926);
});

test("an archive gives back its files, whatever they are named", () => {
  const files = new Map([["corrections/7/1.png", "seven"], ["corrections/三/1.png", "three"], ["empty", ""]]);
  const entries = [...files].map(([path, text]) => ({ path, bytes: new TextEncoder().encode(text) }));
  expect(unzip(zip(entries))).toEqual(files);
  expect(unzip(zip([]))).toEqual(new Map());
});

test("corrections are numbered within their label, in a folder for each model", () => {
  const records = [
    record(4, { right: "9" }),
    record(3),
    record(2, { right: "9", model: "hanzi" }),
    record(1, { right: "9" }),
    record(0, { right: "a/b" }),
  ];
  const folders = corrections(records);
  const paths = [...folders].map(([model, entries]) => [model, entries.map(({ path }) => path)]);
  expect(paths).toEqual([
    ["digits", ["corrections-digits/a_b/1.png", "corrections-digits/9/1.png", "corrections-digits/9/2.png"]],
    ["hanzi", ["corrections-hanzi/9/1.png"]],
  ]);
  expect(new TextDecoder().decode(folders.get("hanzi")![0]!.bytes)).toBe("picture");
});

test("a table quotes what needs it, and holds no formula", () => {
  const table = csv([["file", "p"], ['a,"b".png', 0.5], ["=1+1.png", undefined], ["三", true]]);
  expect(table).toBe("\ufefffile,p\r\n\"a,\"\"b\"\".png\",0.5\r\n'=1+1.png,\r\n三,true\r\n");
});
