// The way to the server: calls go on until they are answered, and the page knows how it stands meanwhile.

import { DeadlineExceeded, Overloaded, Unavailable } from "digitserve";

export type LinkState = "well" | "offline" | "away" | "busy";

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
   */
  async persist<T>(attempt: () => Promise<T>, signal?: AbortSignal, isLong = false): Promise<T> {
    for (;;) {
      try {
        const answer = await attempt();
        this.#tell("well");
        return answer;
      } catch (error) {
        signal?.throwIfAborted();
        const state = this.#stateAfter(error, isLong);
        if (!state) throw error;
        this.#fell(state, error instanceof Overloaded ? (error.retryAfterMs ?? BUSY_PAUSE_MS) : undefined);
        await this.#recovery(signal);
      }
    }
  }

  #stateAfter(error: unknown, isLong: boolean): LinkState | undefined {
    if (error instanceof Overloaded) return "busy";
    const isAway = error instanceof Unavailable || (error instanceof DeadlineExceeded && !isLong);
    if (!isAway) return undefined;
    return this.#around.isOnline() ? "away" : "offline";
  }

  #fell(state: LinkState, pauseMs?: number): void {
    this.#tell(state);
    if (!this.#isProbing) void this.#probe(pauseMs);
  }

  /** Asks until there is an answer, then wakes whoever waits: they find out whether they have one, too. */
  async #probe(pauseMs = FIRST_PAUSE_MS): Promise<void> {
    this.#isProbing = true;
    for (let pause = pauseMs; ; pause = Math.min(pause * PAUSE_GROWTH, LONGEST_PAUSE_MS)) {
      await this.#pause(pause);
      if (await this.#around.probe().then(() => true, () => false)) break;
      this.#tell(this.#around.isOnline() ? "away" : "offline");
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
