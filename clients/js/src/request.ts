// From the arguments of a call to its request, checked as far as can be done without the server.

import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";

import { Ink, Layout, Priority, RecognizeRequestSchema } from "./digitserve/v1/recognizer_pb.js";
import { MessageTooLarge } from "./errors.js";
import type { ImageMessage } from "./image.js";

const LAYOUTS = {
  auto: Layout.AUTO,
  framed: Layout.FRAMED,
  single: Layout.SINGLE,
  line: Layout.LINE,
  page: Layout.PAGE,
} as const;

const INKS = { auto: Ink.AUTO, light: Ink.LIGHT, dark: Ink.DARK } as const;

const PRIORITIES = { interactive: Priority.INTERACTIVE, bulk: Priority.BULK } as const;

const PACKED_LAYOUTS = { auto: Layout.AUTO, framed: Layout.FRAMED } as const;

const MAX_UINT32 = 2 ** 32 - 1;

/** The largest request, in bytes, unless the caller says otherwise: the server's own default. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

/** What every call takes. */
export interface CallOptions {
  /** How long to wait for the answer, retries included. */
  timeoutMs?: number | undefined;
  /** Aborts the call, which then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** What may be said of every call with images. */
export interface ImageCallOptions {
  /** "name", "name:version" or "name@label"; "" is the server's default. */
  model?: string | undefined;
  /**
   * "interactive" goes first, and is refused at once if its wait would be long; "bulk" may wait. An image by itself is
   * interactive if nothing is said, packed and streamed ones are bulk.
   */
  priority?: keyof typeof PRIORITIES | undefined;
}

/** What is asked about an image, whatever the image is. */
export interface Question extends ImageCallOptions {
  /** "auto" (the default); "framed" (as in MNIST already); "single" (find the one character); "line"; "page". */
  layout?: keyof typeof LAYOUTS | undefined;
  /** "auto" (the default), "light" (on dark paper) or "dark". */
  ink?: keyof typeof INKS | undefined;
  /** How many alternatives to list for each character; 0, the default, lists none. */
  topK?: number | undefined;
  /** Whether to return the evidence maps, too. */
  explain?: boolean | undefined;
}

/** What is asked about packed images. */
export interface BatchQuestion extends ImageCallOptions {
  /** "framed" (the default), or "auto" to have those framed that are not. */
  layout?: keyof typeof PACKED_LAYOUTS | undefined;
  /** Whether to return the probabilities of all classes, too. */
  probabilities?: boolean | undefined;
}

/**
 * Makes the requests of a question, of up to `maxBytes` each. Throws a RangeError for an unknown word, or for a `topK`
 * that counts nothing.
 *
 * @param priority that of a question that names none.
 */
export function requestsOf(
  question: Question,
  priority: keyof typeof PRIORITIES,
  maxBytes: number,
): (image: ImageMessage) => MessageInitShape<typeof RecognizeRequestSchema> {
  const { model = "", topK = 0, explain = false } = question;
  if (!(Number.isInteger(topK) && topK >= 0 && topK <= MAX_UINT32)) {
    throw new RangeError(`topK is ${topK}: it counts alternatives, from 0 up`);
  }
  const layout = find(LAYOUTS, "layout", question.layout ?? "auto");
  const ink = find(INKS, "ink", question.ink ?? "auto");
  const shared = { model, layout, ink, topK, explain, priority: priorityOf(question, priority) };
  return (image) => fitting(RecognizeRequestSchema, { image, ...shared }, maxBytes);
}

/** The priority of a question, or else the given one. Throws a RangeError for an unknown word. */
export function priorityOf({ priority }: ImageCallOptions, otherwise: keyof typeof PRIORITIES): Priority {
  return find(PRIORITIES, "priority", priority ?? otherwise);
}

/** A request that may be sent. Throws MessageTooLarge, as the server would after all of it has travelled. */
export function fitting<Schema extends DescMessage, Request extends MessageInitShape<Schema>>(
  schema: Schema,
  request: Request,
  maxBytes: number,
): Request {
  let bytes = payloadBytes(request);
  // Names and numbers hardly count, and are only measured where they may.
  if (bytes > maxBytes / 2 && bytes <= maxBytes) bytes = toBinary(schema, create(schema, request)).length;
  if (bytes <= maxBytes) return request;
  throw new MessageTooLarge("RESOURCE_EXHAUSTED", `a request of ${bytes} bytes is larger than maxMessageBytes allows`);
}

function payloadBytes(part: unknown): number {
  if (ArrayBuffer.isView(part)) return part.byteLength;
  if (typeof part !== "object" || part === null) return 0;
  return Object.values(part).reduce<number>((sum, each) => sum + payloadBytes(each), 0);
}

/** The layout of packed images. Throws a RangeError for one that they can't have. */
export function packedLayout(word: keyof typeof PACKED_LAYOUTS = "framed"): Layout {
  return find(PACKED_LAYOUTS, "layout", word);
}

function find<Word extends string, Value>(known: Record<Word, Value>, what: string, word: Word): Value {
  if (!Object.hasOwn(known, word)) {
    throw new RangeError(`${what} is ${JSON.stringify(word)}, not one of ${Object.keys(known).join(", ")}`);
  }
  return known[word];
}
