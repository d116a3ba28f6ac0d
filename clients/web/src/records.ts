// The last pictures and their answers, and what the reader says is right.

import type { ZipEntry } from "./zip.js";

/** As many are kept, and beyond them what was put right. */
export const MOST_RECORDS = 48;

/** One picture that was read. */
export interface PictureRecord {
  readonly id: number;
  /** A PNG as a data: URL, as it was sent. */
  readonly png: string;
  readonly label: string;
  readonly probability: number;
  readonly unsure: boolean;
  /** The model's name, without its version. */
  readonly model: string;
  /** What it really is, where the reader has said so. */
  readonly right?: string;
}

/** A picture and its answer, before it has a place among the others. */
export type Reading = Omit<PictureRecord, "id" | "right">;

/** Newest first, which is the greatest id. Each change gives a new list. */
export type Records = readonly PictureRecord[];

/** With a reading added, and the id that it has from now on. */
export interface Added {
  readonly records: Records;
  readonly id: number;
}

/**
 * With one more reading. It takes the place of `current`, a drawing that went on, and of the same picture that another
 * model has read; what was put right stays as it is, whatever comes.
 */
export function withReading(records: Records, reading: Reading, current?: number): Added {
  const same = records.find(({ png, model }) => png === reading.png && model === reading.model);
  if (same?.right !== undefined) return { records, id: same.id };
  const before = records.filter((each) => isReplacedBy(each, reading, current));
  const id = before.find((each) => each.id === current)?.id ?? before[0]?.id ?? freshId(records);
  const rest = records.filter((each) => !before.includes(each));
  return { records: fewer(inOrder([{ id, ...reading }, ...rest]), MOST_RECORDS), id };
}

function isReplacedBy({ id, png, right }: PictureRecord, reading: Reading, current: number | undefined): boolean {
  return right === undefined && (id === current || png === reading.png);
}

/** The time, by which records are in order; but no two are the same. */
function freshId(records: Records): number {
  return Math.max(Date.now(), ...records.map(({ id }) => id + 1));
}

function inOrder(records: Records): Records {
  return [...records].sort((a, b) => b.id - a.id);
}

/** At most so many: the oldest go, but none that somebody has taken the trouble to put right. */
export function fewer(records: Records, most: number): Records {
  const oldest = records.findLastIndex(({ right }) => right === undefined);
  if (records.length <= most || oldest < 0) return records;
  return fewer(records.filter((_, i) => i !== oldest), most);
}

export function without(records: Records, ids: readonly number[]): Records {
  return records.filter(({ id }) => !ids.includes(id));
}

/** With some that were taken away, each where it was. */
export function withBack(records: Records, back: Records): Records {
  return inOrder([...without(records, back.map(({ id }) => id)), ...back]);
}

/** With the right label of one of them; "" takes it back. */
export function withRight(records: Records, id: number, right: string): Records {
  return records.map((record) => {
    if (record.id !== id) return record;
    const { right: _, ...rest } = record;
    return right ? { ...rest, right } : rest;
  });
}

/** What was stored, or nothing if that makes no sense (any more). */
export function parseRecords(text: string | null): Records {
  try {
    const records: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(records) ? inOrder(records.filter(isRecord)) : [];
  } catch {
    return [];
  }
}

/** The folder's name for the corrections of a model's answers: classes of different models don't mix. */
export function folderFor(model: string): string {
  return `corrections-${model}`;
}

/** For each model that was corrected, its folder: <label>/<n>.png, as `python -m train --extra folder:...` takes it. */
export function corrections(records: Records): Map<string, ZipEntry[]> {
  const folders = new Map<string, ZipEntry[]>();
  const counts = new Map<string, number>();
  for (const { model, right, png } of [...records].reverse()) {
    if (right === undefined) continue;
    const folder = `${folderFor(model)}/${right.replace(/[/\\.:]/g, "_")}`;
    const number = (counts.get(folder) ?? 0) + 1;
    counts.set(folder, number);
    folders.set(model, [...(folders.get(model) ?? []), { path: `${folder}/${number}.png`, bytes: bytesOf(png) }]);
  }
  return folders;
}

function isRecord(value: unknown): value is PictureRecord {
  const record = value as Partial<PictureRecord> | null;
  return (
    typeof record?.id === "number" &&
    typeof record.label === "string" &&
    typeof record.model === "string" &&
    typeof record.probability === "number" &&
    (record.right === undefined || typeof record.right === "string") &&
    (record.png?.startsWith?.("data:image/png;base64,") ?? false)
  );
}

function bytesOf(dataUrl: string): Uint8Array {
  return Uint8Array.from(atob(dataUrl.slice(dataUrl.indexOf(",") + 1)), (character) => character.charCodeAt(0));
}
