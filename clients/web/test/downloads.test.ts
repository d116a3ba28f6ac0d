// What the reader takes home: the archive of corrections, and the table.

import { expect, test } from "vitest";

import { csv } from "../src/csv.js";
import { corrections, MOST_RECORDS, parseRecords, type PictureRecord, withRecord, withRight } from "../src/records.js";
import { crc32, zip } from "../src/zip.js";

const PNG = `data:image/png;base64,${btoa("picture")}`;
const record = (id: number, rest: Partial<PictureRecord> = {}): PictureRecord => ({
  id, png: PNG, label: "7", probability: 0.6, unsure: true, model: "digits", ...rest,
});

/** Reads an archive by its directory, as unzip does. */
function unzip(archive: Uint8Array): Map<string, string> {
  const view = new DataView(archive.buffer);
  const end = archive.length - 22;
  expect(view.getUint32(end, true)).toBe(0x06054b50);
  const files = new Map<string, string>();
  let at = view.getUint32(end + 16, true);
  for (let i = 0; i < view.getUint16(end + 10, true); i += 1) {
    expect(view.getUint32(at, true)).toBe(0x02014b50);
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

test("a drawing that goes on takes its own place, and the oldest go", () => {
  const twice = withRecord(withRecord([], record(1)), record(1, { label: "9" }));
  expect(twice.map(({ label }) => label)).toEqual(["9"]);
  const many = Array.from({ length: MOST_RECORDS + 5 }, (_, id) => record(id)).reduce(withRecord, []);
  expect(many).toHaveLength(MOST_RECORDS);
  expect(many[0]!.id).toBe(MOST_RECORDS + 4);
  const kept = withRecord(withRight(many, 5, "9"), record(1_000));
  expect(kept).toHaveLength(MOST_RECORDS);
  expect(kept.map(({ id }) => id)).toContain(5);
  expect(kept.map(({ id }) => id)).not.toContain(6);
});

test("a right label is given and taken back", () => {
  const right = withRight([record(1), record(2)], 2, "9");
  expect(right.map((each) => each.right)).toEqual([undefined, "9"]);
  expect(withRight(right, 2, "")).toEqual([record(1), record(2)]);
});

test("what was stored is read again, and nonsense is nothing", () => {
  const records = [record(1), record(2, { right: "9" })];
  expect(parseRecords(JSON.stringify(records))).toEqual(records);
  expect(parseRecords(JSON.stringify([...records, { id: 3 }, null]))).toEqual(records);
  for (const nonsense of [null, "", "{", "{}", "7"]) expect(parseRecords(nonsense)).toEqual([]);
});

test("a table quotes what needs it, and holds no formula", () => {
  const table = csv([["file", "p"], ['a,"b".png', 0.5], ["=1+1.png", undefined], ["三", true]]);
  expect(table).toBe("\ufefffile,p\r\n\"a,\"\"b\"\".png\",0.5\r\n'=1+1.png,\r\n三,true\r\n");
});
