// The client: one method for each call of the contract.

import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";

import { batchFrom, joinedBatch, modelFrom, recognitionFrom } from "./answer.js";
import { callForEach, pack, type Part, partsOf } from "./batch.js";
import { RecognizeBatchRequestSchema, Recognizer } from "./digitserve/v1/recognizer_pb.js";
import type { RecognitionError } from "./errors.js";
import { type ImageInput, messageFrom } from "./image.js";
import {
  type BatchQuestion,
  type CallOptions,
  fitting,
  MAX_MESSAGE_BYTES,
  packedLayout,
  priorityOf,
  type Question,
  requestsOf,
} from "./request.js";
import type { BatchRecognition, Model, Recognition } from "./result.js";
import { type Deadline, deadlineIn, retry } from "./retry.js";
import { type Images, readStream, STREAM_ENVELOPE_BYTES, STREAM_TIMEOUT_MS, STREAM_WINDOW } from "./stream.js";

export const DEFAULT_TIMEOUT_MS = 10_000;

export interface ClientOptions {
  /** Deadline of each call that names none of its own, in milliseconds. */
  timeoutMs?: number;
  /** The largest request, in bytes: a larger one is not sent. 64 MiB if nothing is said, as on the server. */
  maxMessageBytes?: number;
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
  readonly #maxBytes: number;

  /** Throws a TypeError without a transport, and a RangeError for an option that can't be meant. */
  constructor(transport: Transport, options: ClientOptions = {}) {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, maxMessageBytes = MAX_MESSAGE_BYTES } = options;
    if (typeof (transport as Transport | undefined)?.unary !== "function") {
      throw new TypeError("transport is none: give what createGrpcTransport or createGrpcWebTransport returns");
    }
    deadlineIn(timeoutMs);
    if (!(maxMessageBytes >= 1)) {
      throw new RangeError(`maxMessageBytes is ${maxMessageBytes}: it counts bytes, from 1 up`);
    }
    this.#transport = transport;
    this.#timeoutMs = timeoutMs;
    this.#maxBytes = maxMessageBytes;
  }

  /**
   * Reads one image: a file as a Blob or its bytes, a canvas or its ImageData, or raw grey pixels.
   *
   * Rejects with a RecognitionError (errors.ts), with a TypeError or RangeError for an argument that can't be meant,
   * and with the signal's reason once that is aborted.
   */
  async recognize(image: ImageInput, options: RecognizeOptions = {}): Promise<Recognition> {
    const deadline = this.#deadline(options);
    const requestFor = requestsOf(options, "interactive", this.#maxBytes);
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
    const side = Math.sqrt(packed.imageBytes);
    const size = Number.isInteger(side) ? { height: side, width: side } : {};
    const call = async ({ images, count }: Part, signal: AbortSignal) => {
      const question = { images, model, layout, probabilities, priority, ...size };
      const request = fitting(RecognizeBatchRequestSchema, question, this.#maxBytes);
      const answer = await this.#call(Recognizer.method.recognizeBatch, request, { at: deadline.at, signal });
      return batchFrom(answer, count, probabilities);
    };
    const answers = await callForEach(partsOf(packed), call, options.signal);
    return joinedBatch(answers, Math.round(side));
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
    const requestFor = requestsOf(options, "bulk", this.#maxBytes - STREAM_ENVELOPE_BYTES);
    return readStream(this.#transport, images, requestFor, deadline, window);
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
