// Many images over one stream: requests run ahead of the answers, as far as a window allows.
//
// The reading side and the writing side ask one outbox for the image of each number. It takes an image from the caller
// once, and forgets it when it is answered: so order holds, an image that can't even be sent has its error in its
// place, and a stream that broke before its first answer can be sent again.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";

import { nonsense, recognitionFrom } from "./answer.js";
import {
  Recognizer,
  type RecognizeStreamRequestSchema,
  type RecognizeStreamResponse,
} from "./digitserve/v1/recognizer_pb.js";
import { errorFromStatus, InvalidImage, InvalidRequest, RecognitionError, Unavailable } from "./errors.js";
import { type ImageInput, type ImageMessage, messageFrom } from "./image.js";
import { type Deadline, Pauses, remainingMs } from "./retry.js";
import type { Recognition } from "./result.js";
import { statusName } from "./status.js";

export const STREAM_WINDOW = 64;
export const STREAM_TIMEOUT_MS = 3_600_000;
/** The most that a message of the stream adds to the request in it: two keys, an id and a length. */
export const STREAM_ENVELOPE_BYTES = 17;

export type Images = Iterable<ImageInput> | AsyncIterable<ImageInput>;
type Request = MessageInitShape<typeof RecognizeStreamRequestSchema>;

export type RequestFor = (image: ImageMessage) => NonNullable<Request["request"]>;

/** Where images wait: each becomes a request, or the error in its place; undefined after the last. */
class Outbox {
  readonly #images: Iterator<ImageInput> | AsyncIterator<ImageInput>;
  readonly #requestFor: RequestFor;
  readonly #taken = new Map<number, Promise<Request | InvalidRequest | undefined>>();
  readonly #window: number;
  #answered = 0;
  #madeRoom = () => {};

  constructor(images: Images, requestFor: RequestFor, window: number) {
    this.#images = Symbol.asyncIterator in images ? images[Symbol.asyncIterator]() : images[Symbol.iterator]();
    this.#requestFor = requestFor;
    this.#window = window;
  }

  /** The request of an image that is not answered yet. Rejects with what the caller's images threw. */
  take(number: number): Promise<Request | InvalidRequest | undefined> {
    const taken = this.#taken.get(number) ?? this.#make(number);
    this.#taken.set(number, taken);
    taken.catch(() => {}); // whoever waits for it hears of it
    return taken;
  }

  forget(number: number): void {
    this.#taken.delete(number);
    this.#answered = number + 1;
    this.#madeRoom();
  }

  /**
   * Everything that is not answered and fits in the window, until the signal ends it. The transport may ask late, when
   * errors have been passed already.
   */
  async *requests(signal: AbortSignal): AsyncGenerator<Request> {
    signal.addEventListener("abort", () => this.#madeRoom(), { once: true });
    for (let number = this.#answered; !signal.aborted; number += 1) {
      await this.#roomFor(number, signal);
      if (signal.aborted) return;
      if (number < this.#answered) continue;
      const request = await this.take(number).catch(() => undefined); // the reading side gets there, and throws it
      if (request === undefined) return;
      if (!(request instanceof InvalidRequest)) yield request;
    }
  }

  /** Tells the caller's images that no more are wanted. They may be busy with one, which nobody waits for. */
  close(): void {
    Promise.resolve(this.#images.return?.()).catch(() => {});
  }

  async #make(number: number): Promise<Request | InvalidRequest | undefined> {
    const { done, value } = await this.#images.next();
    if (done) return undefined;
    try {
      return { id: BigInt(number), request: this.#requestFor(await messageFrom(value)) };
    } catch (cause) {
      if (cause instanceof InvalidRequest) return cause;
      const violations = [{ field: "image", description: String(cause) }];
      const text = cause instanceof Error ? cause.message : String(cause);
      return new InvalidImage("INVALID_ARGUMENT", text, { violations }, { cause });
    }
  }

  async #roomFor(number: number, signal: AbortSignal): Promise<void> {
    while (number >= this.#answered + this.#window && !signal.aborted) {
      await new Promise<void>((resolve) => (this.#madeRoom = resolve));
    }
  }
}

/** Yields one answer for each image, in order. See `DigitClient.recognizeStream`. */
export async function* readStream(
  transport: Transport,
  images: Images,
  requestFor: RequestFor,
  deadline: Deadline,
  window: number,
): AsyncGenerator<Recognition | RecognitionError, void, undefined> {
  const outbox = new Outbox(images, requestFor, window);
  const pauses = new Pauses(deadline);
  const progress = { next: 0, hasBegun: false };
  try {
    let isOver = false;
    while (!isOver) isOver = yield* attempt(transport, outbox, deadline, progress, pauses);
  } finally {
    outbox.close();
  }
}

interface Progress {
  /** The number of the image to be answered next. */
  next: number;
  /** Whether the server has answered anything: from then on nothing is sent again. */
  hasBegun: boolean;
}

/** One stream. Returns whether it has come to its end; if not, another is to be tried. */
async function* attempt(
  transport: Transport,
  outbox: Outbox,
  deadline: Deadline,
  progress: Progress,
  pauses: Pauses,
): AsyncGenerator<Recognition | RecognitionError, boolean, undefined> {
  const ending = new AbortController();
  const end = () => ending.abort(deadline.signal?.reason);
  deadline.signal?.addEventListener("abort", end, { once: true });
  try {
    const requests = outbox.requests(ending.signal);
    const responses = new Responses(open(transport, requests, remainingMs(deadline), ending.signal));
    for (; ; progress.next += 1) {
      const request = await responses.failOr(outbox.take(progress.next));
      if (request === undefined) return true;
      yield request instanceof InvalidRequest ? request : await answerTo(request, responses, progress);
      outbox.forget(progress.next);
    }
  } catch (failure) {
    if (!(failure instanceof StreamFailure)) throw failure;
    if (progress.hasBegun) pauses.giveUp(failure.cause);
    await pauses.waitAfter(failure.cause);
    return false;
  } finally {
    deadline.signal?.removeEventListener("abort", end);
    ending.abort();
  }
}

async function* open(transport: Transport, requests: AsyncIterable<Request>, timeoutMs: number, signal: AbortSignal) {
  const { recognizeStream } = Recognizer.method;
  yield* (await transport.stream(recognizeStream, signal, timeoutMs, undefined, requests)).message;
}

/** The stream itself failed, not the caller's images. */
class StreamFailure extends Error {}

/** The server's answers, one at a time. The next is asked for ahead, so that a stream's end is noticed at once. */
class Responses {
  readonly #iterator: AsyncIterator<RecognizeStreamResponse>;
  #coming: Promise<RecognizeStreamResponse>;

  constructor(responses: AsyncIterable<RecognizeStreamResponse>) {
    this.#iterator = responses[Symbol.asyncIterator]();
    this.#coming = this.#ask();
  }

  /** Waits for something of the caller's, unless the stream fails before it comes. */
  failOr<T>(own: Promise<T>): Promise<T> {
    return Promise.race([own, this.#coming.then(() => own)]);
  }

  async next(): Promise<RecognizeStreamResponse> {
    const response = await this.#coming;
    this.#coming = this.#ask();
    return response;
  }

  #ask(): Promise<RecognizeStreamResponse> {
    const coming = this.#iterator.next().then(
      ({ done, value }) => {
        if (!done) return value;
        const early = "the server ended the stream before it had answered everything";
        throw new StreamFailure(early, { cause: new Unavailable("UNAVAILABLE", early) });
      },
      (cause: unknown) => {
        throw new StreamFailure("the stream failed", { cause });
      },
    );
    coming.catch(() => {}); // heard of by whoever asks next, if anybody does
    return coming;
  }
}

async function answerTo(
  request: Request,
  responses: Responses,
  progress: Progress,
): Promise<Recognition | RecognitionError> {
  const { id, result } = await responses.next();
  progress.hasBegun = true;
  if (id !== request.id) throw nonsense(`the stream's answers are out of order: ${id} came instead of ${request.id}`);
  if (result.case === "response") return recognitionFrom(result.value);
  if (result.case !== "error") throw nonsense(`the stream's answer to ${id} is empty`);
  const { code, message, field, retryAfterMs } = result.value;
  const violations = field ? [{ field, description: message }] : [];
  return errorFromStatus(statusName(code), message, { violations, retryAfterMs: retryAfterMs || undefined });
}
