// The last pictures and their answers, and what the reader says is right.

import type { ZipEntry } from "./zip.js";

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

/** Newest first. Each change gives a new list. */
export type Records = readonly PictureRecord[];

/** With a record added, or in place of the one of the same id: a drawing that went on. */
export function withRecord(records: Records, record: PictureRecord): Records {
  const all = [record, ...records.filter(({ id }) => id !== record.id)];
  if (all.length <= MOST_RECORDS) return all;
  // Of too many, the oldest goes that nobody has taken the trouble to put right.
  const oldest = all.findLastIndex(({ right }) => right === undefined);
  return all.filter((_, i) => i !== oldest);
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
    return Array.isArray(records) ? records.filter(isRecord).slice(0, MOST_RECORDS) : [];
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
