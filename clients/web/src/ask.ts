// One question in flight, the newest one next: what came between is never sent, so an answer is never about long ago.

export interface Answering<Q, A> {
  /** Sends a question; `take` gives the newest there is, also where the sending is repeated. */
  send(take: () => Q, signal: AbortSignal): Promise<A>;
  hear(answer: A, question: Q): void;
  fail(error: unknown): void;
}

export class Asker<Q, A> {
  readonly #answering: Answering<Q, A>;
  #waiting: { question: Q } | undefined;
  #run: AbortController | undefined;

  constructor(answering: Answering<Q, A>) {
    this.#answering = answering;
  }

  /** Whether an answer is still to come. */
  get isAsking(): boolean {
    return this.#run !== undefined;
  }

  /** Whether a newer question waits for the one on its way. */
  get isWaiting(): boolean {
    return this.#waiting !== undefined;
  }

  ask(question: Q): void {
    this.#waiting = { question };
    if (!this.#run) void this.#work();
  }

  /** Wants no answer any more to what was asked. */
  forget(): void {
    this.#waiting = undefined;
    this.#run?.abort();
    this.#run = undefined;
  }

  async #work(): Promise<void> {
    const run = (this.#run = new AbortController());
    while (this.#waiting && !run.signal.aborted) await this.#askOnce(run.signal);
    if (this.#run === run) this.#run = undefined;
  }

  async #askOnce(signal: AbortSignal): Promise<void> {
    let question = this.#waiting!.question;
    const take = () => {
      if (this.#waiting) question = this.#waiting.question;
      this.#waiting = undefined;
      return question;
    };
    try {
      const answer = await this.#answering.send(take, signal);
      if (!signal.aborted) this.#answering.hear(answer, question);
    } catch (error) {
      if (!signal.aborted) this.#answering.fail(error);
    }
  }
}
