// Records as the tests need them.

import type { PictureRecord, Reading } from "../src/records.js";

const PNG = "data:image/png;base64,";

/** A reading of a picture that holds this text. */
export const reading = (text: string, rest: Partial<Reading> = {}): Reading => ({
  png: PNG + btoa(text), label: "7", probability: 0.6, unsure: true, model: "digits", ...rest,
});

export const record = (id: number, rest: Partial<PictureRecord> = {}): PictureRecord => ({
  id, ...reading("picture"), ...rest,
});
