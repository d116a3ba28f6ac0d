// Everything that this client rejects with by itself, named as in the Python client:
//
// DigitserveError
// └── RecognitionError          a call ended in a gRPC status other than OK
//     ├── InvalidRequest        INVALID_ARGUMENT    can never succeed; `field` names the part that is wrong
//     │   ├── InvalidImage      INVALID_ARGUMENT    ... because of the image
//     │   └── MessageTooLarge   RESOURCE_EXHAUSTED  ... because it is over a limit on message sizes
//     ├── ModelNotFound         NOT_FOUND           no such model, version or label
//     ├── Overloaded            RESOURCE_EXHAUSTED  the server's tray is full; `retryAfterMs` says when to come back
//     ├── Unavailable           UNAVAILABLE         no server there, or it is starting or draining; retries were made
//     ├── DeadlineExceeded      DEADLINE_EXCEEDED   no answer in time
//     ├── Unauthenticated       UNAUTHENTICATED     no token or a wrong one (PERMISSION_DENIED, too)
//     ├── Unimplemented         UNIMPLEMENTED       a layout or a call that this server or transport does not know
//     └── Internal              INTERNAL            the server failed, or its answer makes no sense (all others, too)
//
// Arguments that are wrong before anything is sent give a TypeError or RangeError, and an aborted call its signal's
// reason, as everywhere on the web.

/** One part of the request that is wrong. */
export interface FieldViolation {
  /** Path of the field, such as "image.encoded". */
  readonly field: string;
  readonly description: string;
}

/** What a status tells beyond its code and message. */
export interface ErrorDetails {
  readonly violations?: readonly FieldViolation[];
  readonly retryAfterMs?: number | undefined;
}

/** Base of all errors here. */
export class DigitserveError extends Error {
  override readonly name: string = "DigitserveError";
  /** Name of the gRPC status, such as "NOT_FOUND". */
  readonly code: string;
  /** The parts of the request that are wrong; empty where the server names none. */
  readonly violations: readonly FieldViolation[];
  /** When to come back, in milliseconds; undefined where the server did not say. */
  readonly retryAfterMs: number | undefined;

  constructor(code: string, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.violations = details.violations ?? [];
    this.retryAfterMs = details.retryAfterMs;
  }

  /** Path of the first field that is wrong; "" where none is. */
  get field(): string {
    return this.violations[0]?.field ?? "";
  }
}

/** A call ended in a gRPC status other than OK. */
export class RecognitionError extends DigitserveError {
  override readonly name: string = "RecognitionError";
}

/** The request can never succeed; `field` is the part of it that is wrong. */
export class InvalidRequest extends RecognitionError {
  override readonly name: string = "InvalidRequest";
}

/** The image can't be read, or is not what the layout asks for. */
export class InvalidImage extends InvalidRequest {
  override readonly name = "InvalidImage";
}

/** The request or its answer is over the client's, a proxy's or the server's limit on message sizes. */
export class MessageTooLarge extends InvalidRequest {
  override readonly name = "MessageTooLarge";
}

/** No model of that name, version or label is served. */
export class ModelNotFound extends RecognitionError {
  override readonly name = "ModelNotFound";
}

/** The server's tray is full; `retryAfterMs` says when it should have room again. */
export class Overloaded extends RecognitionError {
  override readonly name = "Overloaded";
}

/** No server answers, or it is starting, draining or unhealthy. The retries are already used up. */
export class Unavailable extends RecognitionError {
  override readonly name = "Unavailable";
}

/** No answer within `timeoutMs`. */
export class DeadlineExceeded extends RecognitionError {
  override readonly name = "DeadlineExceeded";
}

/** The server wants a token, or another one. */
export class Unauthenticated extends RecognitionError {
  override readonly name = "Unauthenticated";
}

/** The contract knows this layout or call, but this server or transport does not. */
export class Unimplemented extends RecognitionError {
  override readonly name = "Unimplemented";
}

/** The server failed in a way that it did not foresee, or answered nonsense. */
export class Internal extends RecognitionError {
  override readonly name = "Internal";
}

const KINDS: Record<string, typeof RecognitionError> = {
  INVALID_ARGUMENT: InvalidRequest,
  NOT_FOUND: ModelNotFound,
  RESOURCE_EXHAUSTED: Overloaded,
  UNAVAILABLE: Unavailable,
  DEADLINE_EXCEEDED: DeadlineExceeded,
  UNAUTHENTICATED: Unauthenticated,
  PERMISSION_DENIED: Unauthenticated,
  UNIMPLEMENTED: Unimplemented,
};

// gRPC and Connect refuse a message over a limit with RESOURCE_EXHAUSTED, as if waiting could help. Only the text
// tells.
const SIZE_REFUSAL = /larger than (max|configured)/;
const IMAGE_FIELD = /^images?(\.|$)/;

/** The error of a status, as a call or an element of a stream ended in it. */
export function errorFromStatus(
  code: string,
  message: string,
  details: ErrorDetails = {},
  options?: ErrorOptions,
): RecognitionError {
  const text = message || details.violations?.[0]?.description || `the server answered ${code} and no reason`;
  return new (kindOf(code, text, details))(code, text, details, options);
}

function kindOf(code: string, message: string, details: ErrorDetails): typeof RecognitionError {
  if (code === "INVALID_ARGUMENT" && IMAGE_FIELD.test(details.violations?.[0]?.field ?? "")) return InvalidImage;
  if (code === "RESOURCE_EXHAUSTED" && SIZE_REFUSAL.test(message)) return MessageTooLarge;
  return KINDS[code] ?? Internal;
}
