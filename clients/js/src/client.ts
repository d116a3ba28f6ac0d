// The client: one method for each call of the contract.

import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";

import { batchFrom, joinedBatch, modelFrom, recognitionFrom } from "./answer.js";
import { callForEach, pack, type Part, partsOf } from "./batch.js";
import { Recognizer } from "./digitserve/v1/recognizer_pb.js";
import type { RecognitionError } from "./errors.js";
import { type ImageInput, messageFrom } from "./image.js";
import { type BatchQuestion, type CallOptions, packedLayout, type Question, priorityOf, requestsOf } from "./request.js";
import type { BatchRecognition, Model, Recognition } from "./result.js";
import { type Deadline, deadlineIn, retry } from "./retry.js";
import { type Images, readStream, STREAM_TIMEOUT_MS, STREAM_WINDOW } from "./stream.js";

export const DEFAULT_TIMEOUT_MS = 10_000;

export interface ClientOptions {
  /** Deadline of each call that names none of its own, in milliseconds. */
  timeoutMs?: number;
}

export interface RecognizeOptions extends Question, CallOptions {}

export interface BatchOptions extends BatchQuestion, CallOptions {}

export interface StreamOptions extends Question, CallOptions {
  /** How many images may be on their way at the same time; 64 if nothing is said. */
  window?: number;
}

/** Talks to a digitserve server through a Connect transport: gRPC on Node, grpc-web in a browser. */
export class DigitClient {
  readonly #transport: Transport;
  readonly #timeoutMs: number;

  constructor(transport: Transport, { timeoutMs = DEFAULT_TIMEOUT_MS }: ClientOptions = {}) {
    deadlineIn(timeoutMs);
    this.#transport = transport;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Reads one image: a file as a Blob or its bytes, a canvas or its ImageData, or raw grey pixels.
   *
   * Rejects with a RecognitionError (errors.ts), with a TypeError or RangeError for an argument that can't be meant,
   * and with the signal's reason once that is aborted.
   */
  async recognize(image: ImageInput, options: RecognizeOptions = {}): Promise<Recognition> {
    const deadline = this.#deadline(options);
    const requestFor = requestsOf(options, "interactive");
    const request = requestFor(await messageFrom(image));
    return recognitionFrom(await this.#call(Recognizer.method.recognize, request, deadline));
  }

  /**
   * Reads N packed images of 8-bit grey pixels, light ink on black: the fast road. They are one array of N * 28 * 28
   * bytes, or N arrays of one size, which must be the model's own.
   *
   * Over 4,096 images travel in several calls, two at a time, and their answers are joined in order. The first that
   * fails ends the others, and its error is the batch's. Rejects as `recognize` does.
   */
  async recognizeBatch(
    images: Uint8Array | readonly Uint8Array[],
    options: BatchOptions = {},
  ): Promise<BatchRecognition> {
    const deadline = this.#deadline(options);
    const { model = "", probabilities = false } = options;
    const layout = packedLayout(options.layout);
    const priority = priorityOf(options, "bulk");
    const packed = pack(images);
    const call = async ({ images, count }: Part, signal: AbortSignal) => {
      const request = { images, model, layout, probabilities, priority };
      const answer = await this.#call(Recognizer.method.recognizeBatch, request, { at: deadline.at, signal });
      return batchFrom(answer, count, probabilities);
    };
    const answers = await callForEach(partsOf(packed), call, options.signal);
    return joinedBatch(answers, Math.round(Math.sqrt(packed.imageBytes)));
  }

  /**
   * Reads many images over one stream, and yields their answers in order. On Node only: browsers can't stream requests,
   * and there the first answer is an Unimplemented error.
   *
   * An image that fails yields its error and ends nothing. `images` is taken as far ahead as `window` allows, so that a
   * million images need no memory. `timeoutMs` is for the whole stream: an hour if nothing is said. Throws as
   * `recognize` rejects if the stream itself fails, and what `images` throws.
   */
  recognizeStream(
    images: Images,
    options: StreamOptions = {},
  ): AsyncGenerator<Recognition | RecognitionError, void, undefined> {
    const { timeoutMs = STREAM_TIMEOUT_MS, signal, window = STREAM_WINDOW } = options;
    if (!(window >= 1)) throw new RangeError(`window is ${window}: it counts images, from 1 up`);
    const deadline = deadlineIn(timeoutMs, signal);
    return readStream(this.#transport, images, requestsOf(options, "bulk"), deadline, window);
  }

  /** The models that the server serves. */
  async models(options: CallOptions = {}): Promise<Model[]> {
    const answer = await this.#call(Recognizer.method.listModels, {}, this.#deadline(options));
    return answer.models.map(modelFrom);
  }

  async #call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    deadline: Deadline,
  ): Promise<MessageShape<O>> {
    const attempt = (timeoutMs: number) =>
      this.#transport.unary(method, deadline.signal, timeoutMs, undefined, request);
    return (await retry(deadline, attempt)).message;
  }

  #deadline({ timeoutMs = this.#timeoutMs, signal }: CallOptions): Deadline {
    return deadlineIn(timeoutMs, signal);
  }
}
