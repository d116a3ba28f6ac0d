// From a failed call to an error of ours, with the google.rpc details that travel in its trailer. Reading the three
// fields that matter takes less code than all of googleapis' messages would take in a browser's bundle.

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";

import { DigitserveError, errorFromStatus, type ErrorDetails, type FieldViolation } from "./errors.js";

const BAD_REQUEST = "google.rpc.BadRequest";
const RETRY_INFO = "google.rpc.RetryInfo";

// What connect-web says of a call whose requests are a stream.
const CAN_NOT_STREAM = "does not support streaming request bodies";

// What connect-node says of a call whose connection broke while it was under way. We have not cancelled it: that is
// looked at before.
const BROKEN_CONNECTION = "http/2 stream closed with error code CANCEL";

// What Node makes of an answer that comes while it counts more unsent bytes than `maxSessionMemory`. Those of an upload
// that was ended early it counts for ever: then every call on the connection fails.
const TOO_MUCH_UNSENT = "NGHTTP2_ENHANCE_YOUR_CALM";

type Detail = { readonly type: string; readonly value: Uint8Array };

/** The error of a failed call. */
export function errorFrom(reason: unknown): DigitserveError {
  if (reason instanceof DigitserveError) return reason;
  const failure = ConnectError.from(reason);
  const code = statusNameOf(failure);
  return errorFromStatus(code, messageOf(failure), readDetails(failure), { cause: reason });
}

/** The name of a status by its number in google.rpc.Code. */
export function statusName(code: number): string {
  const name = Code[code];
  if (name === undefined) return "UNKNOWN";
  return code === Code.Canceled ? "CANCELLED" : name.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase();
}

function statusNameOf(failure: ConnectError): string {
  if (failure.rawMessage.includes(CAN_NOT_STREAM)) return "UNIMPLEMENTED";
  return statusName(hasNoConnection(failure) ? Code.Unavailable : failure.code);
}

/**
 * Whether the connection failed, for which Connect has other names: `fetch` reports every failure of the network as a
 * TypeError, and Node a connection that broke as ECONNRESET and its like, or as a stream that somebody has cancelled.
 */
function hasNoConnection({ code, cause, rawMessage }: ConnectError): boolean {
  if (code === Code.Unknown) return cause instanceof TypeError;
  if (code === Code.Canceled) return rawMessage.startsWith(BROKEN_CONNECTION);
  if (code === Code.Aborted) return cause instanceof Error;
  return cause instanceof Error && "syscall" in cause;
}

function messageOf(failure: ConnectError): string {
  if (failure.rawMessage.includes(CAN_NOT_STREAM)) {
    return "a browser can't stream images up over grpc-web: use recognizeBatch, or recognize for each image";
  }
  if (failure.rawMessage.includes(TOO_MUCH_UNSENT)) {
    return `${failure.rawMessage}: make the transport with nodeOptions: { maxSessionMemory: 1_000_000 }`;
  }
  return failure.rawMessage;
}

/** What can't be read counts as absent: the status itself says enough. */
function readDetails(failure: ConnectError): ErrorDetails {
  const violations: FieldViolation[] = [];
  let retryAfterMs: number | undefined;
  for (const detail of failure.details) {
    if (!isDetail(detail)) continue;
    try {
      if (detail.type === BAD_REQUEST) violations.push(...readViolations(detail.value));
      if (detail.type === RETRY_INFO) retryAfterMs = readRetryDelay(detail.value);
    } catch {
      continue;
    }
  }
  return { violations, retryAfterMs };
}

function isDetail(detail: object): detail is Detail {
  return "type" in detail;
}

function readViolations(badRequest: Uint8Array): FieldViolation[] {
  const decoder = new TextDecoder();
  return [...fieldsOf(badRequest)].map(([, violation]) => {
    const texts = new Map([...fieldsOf(violation as Uint8Array)].map(([number, text]) => [number, text as Uint8Array]));
    return { field: decoder.decode(texts.get(1)), description: decoder.decode(texts.get(2)) };
  });
}

function readRetryDelay(retryInfo: Uint8Array): number | undefined {
  for (const [, duration] of fieldsOf(retryInfo)) {
    const numbers = new Map(fieldsOf(duration as Uint8Array));
    return Number(numbers.get(1) ?? 0) * 1e3 + Number(numbers.get(2) ?? 0) / 1e6;
  }
  return undefined;
}

/** The fields of a serialized message: numbers of varints, bytes of what has a length; no others are asked for. */
function* fieldsOf(message: Uint8Array): Generator<[number, number | Uint8Array]> {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [number, kind] = reader.tag();
    if (kind === WireType.Varint) yield [number, Number(reader.int64())];
    else if (kind === WireType.LengthDelimited) yield [number, reader.bytes()];
    else reader.skip(kind, number);
  }
}
