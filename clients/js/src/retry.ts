// UNAVAILABLE means that no server has worked on the call, so it is repeated, as the Python client does: up to four
// attempts with growing pauses, all within the call's one deadline. Nothing else is ever repeated.

import { ConnectError } from "@connectrpc/connect";

import { DeadlineExceeded, type DigitserveError, Unavailable } from "./errors.js";
import { errorFrom } from "./status.js";

const MAX_ATTEMPTS = 4;
const INITIAL_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 2_000;
const JITTER = 0.2;

const PUSHBACK_KEY = "grpc-retry-pushback-ms";

/** The longest `timeoutMs`: the header that carries it has eight digits. It is more than a day. */
export const MAX_TIMEOUT_MS = 99_999_999;

/** Until when a call may take, and what ends it earlier. */
export interface Deadline {
  /** By `performance.now()`, in milliseconds. */
  readonly at: number;
  readonly signal: AbortSignal | undefined;
}

/** The deadline of a call that starts now. Throws a RangeError: every call has a deadline, and infinity is not one. */
export function deadlineIn(timeoutMs: number, signal?: AbortSignal): Deadline {
  if (!(timeoutMs > 0 && timeoutMs <= MAX_TIMEOUT_MS)) {
    throw new RangeError(
      `timeoutMs is ${timeoutMs}: give a number of milliseconds above 0 and up to ${MAX_TIMEOUT_MS}`,
    );
  }
  return { at: performance.now() + timeoutMs, signal };
}

/** What is left, in whole milliseconds: the header has no fractions. Throws DeadlineExceeded, or what aborted it. */
export function remainingMs(deadline: Deadline): number {
  deadline.signal?.throwIfAborted();
  const remaining = Math.ceil(deadline.at - performance.now());
  if (remaining <= 0) throw new DeadlineExceeded("DEADLINE_EXCEEDED", "no answer before the deadline");
  return remaining;
}

/** Makes a call until it is answered or may not be repeated. Rejects with an error of ours, or with what aborted it. */
export async function retry<T>(deadline: Deadline, call: (timeoutMs: number) => Promise<T>): Promise<T> {
  const pauses = new Pauses(deadline);
  for (;;) {
    try {
      return await call(remainingMs(deadline));
    } catch (reason) {
      await pauses.waitAfter(reason);
    }
  }
}

/** The pauses between the attempts of one call. */
export class Pauses {
  readonly #deadline: Deadline;
  #attempts = 0;
  #backoffMs = INITIAL_BACKOFF_MS;

  constructor(deadline: Deadline) {
    this.#deadline = deadline;
  }

  /** Waits until the next attempt may be made. Rejects where there is to be none, with why the last one failed. */
  async waitAfter(reason: unknown): Promise<void> {
    this.#attempts += 1;
    const error = this.#errorFrom(reason);
    const pauseMs = error instanceof Unavailable && this.#attempts < MAX_ATTEMPTS ? this.#next(reason) : undefined;
    if (pauseMs === undefined || performance.now() + pauseMs >= this.#deadline.at) throw error;
    await sleep(pauseMs, this.#deadline.signal);
  }

  /** Throws why the last attempt failed. */
  giveUp(reason: unknown): never {
    throw this.#errorFrom(reason);
  }

  #errorFrom(reason: unknown): DigitserveError {
    this.#deadline.signal?.throwIfAborted();
    return errorFrom(reason);
  }

  /** In milliseconds; undefined if the server wants no other attempt. Its own word takes the place of our backoff. */
  #next(reason: unknown): number | undefined {
    const asked = reason instanceof ConnectError ? reason.metadata.get(PUSHBACK_KEY) : null;
    if (asked !== null) {
      this.#backoffMs = INITIAL_BACKOFF_MS;
      return /^\d+$/.test(asked) ? Number(asked) : undefined;
    }
    const backoffMs = this.#backoffMs;
    this.#backoffMs = Math.min(2 * backoffMs, MAX_BACKOFF_MS);
    return backoffMs * (1 + JITTER * (2 * Math.random() - 1));
  }
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
