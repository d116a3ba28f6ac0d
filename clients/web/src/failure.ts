// Why there is no answer, in plain words.

import {
  DeadlineExceeded,
  Internal,
  InvalidImage,
  MessageTooLarge,
  ModelNotFound,
  Unauthenticated,
} from "digitserve";

import { say } from "./language.js";
import type { WordKey } from "./words.js";

const REASONS: readonly (readonly [new (...words: never[]) => Error, WordKey])[] = [
  [MessageTooLarge, "reasonSize"],
  [ModelNotFound, "reasonModel"],
  [DeadlineExceeded, "reasonSlow"],
  [Unauthenticated, "reasonForbidden"],
  [Internal, "reasonServer"],
];
// All images that can't be read have one error, and these words of server/decode.py tell them apart.
const IMAGE_REASONS: readonly (readonly [RegExp, WordKey])[] = [
  [/\bempty\b/, "reasonEmpty"],
  [/\bpixels\b/, "reasonPixels"],
];

/** Which of the page's own words say it. */
export function reasonOf(error: unknown): WordKey {
  if (error instanceof InvalidImage) {
    return IMAGE_REASONS.find(([words]) => words.test(error.message))?.[1] ?? "reasonImage";
  }
  return REASONS.find(([kind]) => error instanceof kind)?.[1] ?? "reasonOther";
}

/** The server's own words, or the browser's. */
export function detailOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What a panel shows instead of an answer. */
export interface Failure {
  /** In the page's own words, in the language of the moment. */
  readonly failure: string;
  /** In the words of whoever failed, for whoever wants to know. */
  readonly detail: string;
  /** What to do to try again; undefined where that happens by itself. */
  readonly again?: (() => void) | undefined;
}

export function failureOf(error: unknown, again?: () => void): Failure {
  return {
    get failure() {
      return say("refused", { reason: say(reasonOf(error)) });
    },
    detail: detailOf(error),
    again,
  };
}
