// The list of what was read: nothing of it that somebody has put right may ever be lost.

import { expect, test } from "vitest";

import {
  fewer,
  MOST_RECORDS,
  parseRecords,
  type Records,
  withBack,
  without,
  withReading,
  withRight,
} from "../src/records.js";
import { reading, record } from "./record.js";

const idsOf = (records: Records) => records.map(({ id }) => id);

test("a drawing that goes on takes its own place", () => {
  const one = withReading([], reading("1"));
  const two = withReading(one.records, reading("2", { label: "9" }), one.id);
  expect(two).toEqual({ records: [{ id: one.id, ...reading("2", { label: "9" }) }], id: one.id });
});

test("what was put right stays, and a drawing that goes on is another one from there", () => {
  const one = withReading([], reading("1"));
  const corrected = withRight(one.records, one.id, "9");
  const again = withReading(corrected, reading("1"), one.id); // its reasons were asked for
  expect(again).toEqual({ records: corrected, id: one.id });
  const more = withReading(again.records, reading("2"), again.id);
  expect(more.id).toBeGreaterThan(one.id);
  expect(more.records.map(({ right }) => right)).toEqual([undefined, "9"]);
  const evenMore = withReading(more.records, reading("3"), more.id);
  expect(evenMore.id).toBe(more.id);
  expect(evenMore.records).toHaveLength(2);
});

test("the same drawing is there once: cleared and brought back, or read by another model", () => {
  const one = withReading([], reading("1"));
  expect(idsOf(withReading(one.records, reading("1")).records)).toEqual([one.id]);
  const letters = withReading(one.records, reading("1", { model: "letters", label: "Z" }));
  expect(letters.records).toEqual([{ id: one.id, ...reading("1", { model: "letters", label: "Z" }) }]);
});

test("each model's answer to the same drawing can be put right", () => {
  const one = withReading([], reading("1"));
  const two = withReading(withRight(one.records, one.id, "9"), reading("1", { model: "letters" }), one.id);
  expect(two.records.map(({ model, right }) => [model, right])).toEqual([["letters", undefined], ["digits", "9"]]);
  const back = withReading(withRight(two.records, two.id, "G"), reading("1"), two.id);
  expect(back.records.map(({ right }) => right)).toEqual(["G", "9"]);
});

test("no two records have one id, even at one time", () => {
  const many = Array.from({ length: 20 }, (_, i) => reading(String(i)));
  const records = many.reduce<Records>((all, each) => withReading(all, each).records, []);
  expect(new Set(idsOf(records)).size).toBe(20);
  expect(records[0]!.png).toBe(reading("19").png);
});

test("of too many, the oldest go that nobody has put right", () => {
  const records = Array.from({ length: MOST_RECORDS }, (_, i) => record(MOST_RECORDS - i));
  const { records: kept } = withReading(withRight(records, 1, "9"), reading("new"));
  expect(kept).toHaveLength(MOST_RECORDS);
  expect(idsOf(kept)).toContain(1);
  expect(idsOf(kept)).not.toContain(2);
});

test("what was put right is kept, however much it is", () => {
  const records = Array.from({ length: MOST_RECORDS + 5 }, (_, i) => record(i, { right: "9" })).reverse();
  expect(parseRecords(JSON.stringify(records))).toEqual(records);
  expect(fewer(records, 3)).toBe(records);
});

test("a right label is given and taken back", () => {
  const right = withRight([record(1), record(2)], 2, "9");
  expect(right.map((each) => each.right)).toEqual([undefined, "9"]);
  expect(withRight(right, 2, "")).toEqual([record(1), record(2)]);
});

test("what was taken away comes back where it was", () => {
  const records = [record(4), record(3, { right: "9" }), record(2), record(1)];
  const rest = without(records, [3, 1]);
  expect(idsOf(rest)).toEqual([4, 2]);
  expect(withBack(rest, [records[1]!, records[3]!])).toEqual(records);
  expect(withBack(records, records)).toEqual(records);
});

test("what was stored is read again, and nonsense is nothing", () => {
  const records = [record(2, { right: "9" }), record(1)];
  expect(parseRecords(JSON.stringify(records))).toEqual(records);
  expect(parseRecords(JSON.stringify([...records, { id: 3 }, null]))).toEqual(records);
  for (const nonsense of [null, "", "{", "{}", "7"]) expect(parseRecords(nonsense)).toEqual([]);
});
