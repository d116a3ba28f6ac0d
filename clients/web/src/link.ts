// The way to the server: calls go on until they are answered, and the page knows how it stands meanwhile.

import { DeadlineExceeded, Overloaded, Unavailable } from "digitserve";

export type LinkState = "well" | "offline" | "away" | "busy" | "slow" | "strange";

/** How long a call to the server may take, in milliseconds. A line may be slow, and its answer is still one. */
export const CALL_TIMEOUT_MS = 20_000;
const SLOW_AFTER_MS = 4_000;

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4_000;
const PAUSE_GROWTH = 1.6;
const BUSY_PAUSE_MS = 500;

// A file may be large and the way up slow: half a line of 0.5 Mbit/s, as two are sent at once, and a minute besides.
const FILE_TIMEOUT_MS = 60_000;
const SLOWEST_BYTES_PER_MS = 32;
const LONGEST_TIMEOUT_MS = 290_000; // Envoy lets no call take more than five minutes

/** How long a file of so many bytes may take, in milliseconds. */
export function timeoutFor(bytes: number): number {
  return Math.min(FILE_TIMEOUT_MS + Math.ceil(bytes / SLOWEST_BYTES_PER_MS), LONGEST_TIMEOUT_MS);
}

/** What came back is no answer of the server's: networks that want a sign-in first answer in everybody's place. */
export class StrangeAnswer extends TypeError {
  override readonly name = "StrangeAnswer";
}

/** What is outside: the network's word, and a call that any server answers. */
export interface Surroundings {
  /** Whether the device has a network at all. */
  isOnline(): boolean;
  /** Fires "online" and "offline". */
  readonly events: EventTarget;
  probe(): Promise<unknown>;
}

/** Repeats what failed because nobody answered, and nothing else. */
export class Link {
  /** Called with every new state. */
  changed: (state: LinkState) => void = () => {};
  readonly #around: Surroundings;
  readonly #waiting = new Set<() => void>();
  #state: LinkState = "well";
  #isProbing = false;
  #hurry = () => {};

  constructor(around: Surroundings) {
    this.#around = around;
    around.events.addEventListener("online", () => this.#hurry());
    around.events.addEventListener("offline", () => this.#fell("offline"));
  }

  get state(): LinkState {
    return this.#state;
  }

  /**
   * Makes a call until it is answered. Rejects with what repeating can't mend, and once the signal is aborted. A call
   * that `isLong` and runs out of time tells of itself, not of the server; of any other it means that nobody is there.
   * Who gives up leaves no state behind: it is asked how the server is.
   */
  async persist<T>(attempt: () => Promise<T>, signal?: AbortSignal, isLong = false): Promise<T> {
    for (;;) {
      try {
        const answer = await (isLong ? attempt() : this.#patiently(attempt));
        this.#tell("well");
        return answer;
      } catch (error) {
        if (signal?.aborted && this.#state !== "well") this.#look();
        signal?.throwIfAborted();
        const state = this.#stateAfter(error, isLong);
        if (!state) {
          if (!(error instanceof DeadlineExceeded)) this.#tell("well"); // what it refuses, somebody refuses
          throw error;
        }
        this.#fell(state, error instanceof Overloaded ? (error.retryAfterMs ?? BUSY_PAUSE_MS) : undefined);
        await this.#recovery(signal);
      }
    }
  }

  #stateAfter(error: unknown, isLong: boolean): LinkState | undefined {
    if (error instanceof Overloaded) return "busy";
    const isAway = error instanceof Unavailable || (error instanceof DeadlineExceeded && !isLong);
    if (!isAway) return undefined;
    if (!this.#around.isOnline()) return "offline";
    return isStrange(error) ? "strange" : "away";
  }

  /** Makes a call, and says so if its answer is long in coming. */
  #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#state === "well" && this.#tell("slow"), SLOW_AFTER_MS);
    return attempt().finally(() => clearTimeout(timer));
  }

  #fell(state: LinkState, pauseMs?: number): void {
    this.#tell(state);
    this.#look(pauseMs);
  }

  #look(pauseMs?: number): void {
    if (!this.#isProbing) void this.#probe(pauseMs);
  }

  /** Asks until there is an answer, then wakes whoever waits: they find out whether they have one, too. */
  async #probe(pauseMs = FIRST_PAUSE_MS): Promise<void> {
    this.#isProbing = true;
    for (let pause = pauseMs; ; pause = Math.min(pause * PAUSE_GROWTH, LONGEST_PAUSE_MS)) {
      await this.#pause(pause);
      const state = await this.#around.probe().then(() => undefined, (error: unknown) => this.#stateAfter(error, false));
      if (!state) break;
      this.#tell(state);
    }
    this.#isProbing = false;
    if (!this.#waiting.size) this.#tell("well");
    for (const wake of this.#waiting) wake();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #recovery(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal?.removeEventListener("abort", giveUp);
        resolve();
      };
      const giveUp = () => {
        this.#waiting.delete(wake);
        reject(signal?.reason);
      };
      this.#waiting.add(wake);
      signal?.addEventListener("abort", giveUp, { once: true });
    });
  }

  #tell(state: LinkState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.changed(state);
  }
}

function isStrange(error: unknown): boolean {
  return error instanceof StrangeAnswer || (error instanceof Error && error.cause !== undefined && isStrange(error.cause));
}
