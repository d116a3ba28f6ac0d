import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";

import * as digitserve from "../src/index.js";
import { NODE_OPTIONS } from "./server.js";
import { clientOf, failing, failureOf, RAW } from "./service.js";

const { DigitserveError, InvalidRequest, RecognitionError } = digitserve;

/** A field of a message: its key, its length and its bytes. */
function field(number: number, value: string | number[]): number[] {
  const bytes = typeof value === "string" ? [...new TextEncoder().encode(value)] : value;
  return [(number << 3) | 2, bytes.length, ...bytes];
}

function failingWith(code: Code, message: string, details: { type: string; value: Uint8Array }[] = []) {
  const reason = new ConnectError(message, code);
  reason.details = details;
  return failureOf(failing(reason, reason, reason, reason).client.recognize(RAW, { timeoutMs: 5_000 }));
}

const BAD_REQUEST = (...violations: [string, string][]) => ({
  type: "google.rpc.BadRequest",
  value: Uint8Array.from(violations.flatMap(([name, text]) => field(1, [...field(1, name), ...field(2, text)]))),
});

test.each([
  [Code.InvalidArgument, "InvalidRequest", "INVALID_ARGUMENT"],
  [Code.NotFound, "ModelNotFound", "NOT_FOUND"],
  [Code.ResourceExhausted, "Overloaded", "RESOURCE_EXHAUSTED"],
  [Code.Unavailable, "Unavailable", "UNAVAILABLE"],
  [Code.DeadlineExceeded, "DeadlineExceeded", "DEADLINE_EXCEEDED"],
  [Code.Unauthenticated, "Unauthenticated", "UNAUTHENTICATED"],
  [Code.PermissionDenied, "Unauthenticated", "PERMISSION_DENIED"],
  [Code.Unimplemented, "Unimplemented", "UNIMPLEMENTED"],
  [Code.Internal, "Internal", "INTERNAL"],
  [Code.Unknown, "Internal", "UNKNOWN"],
  [Code.Canceled, "Internal", "CANCELLED"],
  [Code.Aborted, "Internal", "ABORTED"],
  [Code.FailedPrecondition, "Internal", "FAILED_PRECONDITION"],
] as const)("status %i is %s", async (code, name, status) => {
  const error = await failingWith(code, "why");
  expect(error).toBeInstanceOf(digitserve[name]);
  expect(error).toBeInstanceOf(RecognitionError);
  expect(error).toBeInstanceOf(DigitserveError);
  expect(error).toMatchObject({
    name,
    code: status,
    message: "why",
    field: "",
    violations: [],
    retryAfterMs: undefined,
  });
  expect((error as Error).cause).toBeInstanceOf(ConnectError);
});

test("BadRequest names the fields", async () => {
  const error = await failingWith(Code.InvalidArgument, "bad", [
    BAD_REQUEST(["image.encoded", "empty"], ["top_k", "far"]),
  ]);
  expect(error).toBeInstanceOf(digitserve.InvalidImage);
  expect(error).toMatchObject({ name: "InvalidImage", field: "image.encoded" });
  expect(error).toMatchObject({ violations: [{ field: "image.encoded", description: "empty" }, { field: "top_k" }] });
});

test("a field of a batch's images is about the image, that of the model is not", async () => {
  const about = (name: string) => failingWith(Code.InvalidArgument, "bad", [BAD_REQUEST([name, ""])]);
  expect(await about("images")).toBeInstanceOf(digitserve.InvalidImage);
  expect(await about("model")).not.toBeInstanceOf(digitserve.InvalidImage);
  expect(await about("imagery")).not.toBeInstanceOf(digitserve.InvalidImage);
});

test("a status without a message takes that of its violation", async () => {
  expect(await failingWith(Code.InvalidArgument, "", [BAD_REQUEST(["model", "no such"])])).toMatchObject({
    message: "no such",
  });
  expect(await failingWith(Code.Internal, "")).toMatchObject({ message: "the server answered INTERNAL and no reason" });
});

test("RetryInfo says when to come back", async () => {
  const duration = [0x08, 2, 0x10, ...[0x80, 0xca, 0xb5, 0xee, 0x01]]; // 2 s and 500,000,000 ns
  const retryInfo = { type: "google.rpc.RetryInfo", value: Uint8Array.from(field(1, duration)) };
  const error = await failingWith(Code.ResourceExhausted, "full", [retryInfo]);
  expect(error).toBeInstanceOf(digitserve.Overloaded);
  expect(error).toMatchObject({ retryAfterMs: 2_500 });
});

test("details that can't be read count as absent", async () => {
  const broken = ["google.rpc.BadRequest", "google.rpc.RetryInfo", "google.rpc.Help"].map((type) => {
    return { type, value: Uint8Array.of(0x0a, 0x7f, 1) };
  });
  expect(await failingWith(Code.InvalidArgument, "bad", broken)).toMatchObject({
    violations: [],
    retryAfterMs: undefined,
  });
});

test.each(["Received message larger than max (5 vs. 4)", "message size 5 is larger than configured writeMaxBytes 4"])(
  "%s",
  async (message) => {
    const error = await failingWith(Code.ResourceExhausted, message);
    expect(error).toBeInstanceOf(digitserve.MessageTooLarge);
    expect(error).toBeInstanceOf(InvalidRequest);
  },
);

test("where Node counts too much unsent, the error says what mends it", async () => {
  const error = await failingWith(Code.Internal, "Stream closed with error code NGHTTP2_ENHANCE_YOUR_CALM");
  expect(error).toMatchObject({ name: "Internal", message: expect.stringContaining(NODE_OPTIONS) });
});

test("a failure of the network is UNAVAILABLE, whatever the platform calls it", async () => {
  const causes = [
    new ConnectError("Failed to fetch", Code.Unknown, undefined, undefined, new TypeError("Failed to fetch")),
    new ConnectError("read ECONNRESET", Code.Aborted, undefined, undefined, new Error("read ECONNRESET")),
    new ConnectError(
      "EPIPE",
      Code.Internal,
      undefined,
      undefined,
      Object.assign(new Error("EPIPE"), { syscall: "write" }),
    ),
  ];
  for (const cause of causes) {
    const transport = { unary: () => Promise.reject(cause), stream: () => Promise.reject(cause) };
    const client = new digitserve.DigitClient(transport);
    expect(await failureOf(client.models({ timeoutMs: 50 }))).toMatchObject({
      name: "Unavailable",
      code: "UNAVAILABLE",
    });
  }
});

test("an answer that makes no sense is Internal", async () => {
  const wrong = [
    { classes: [0], unsure: [true], classNames: ["0"] },
    { classes: [0, 1], unsure: [true, true], classNames: ["0"] },
    { classes: [0, -2], unsure: [true, true], classNames: ["0"] },
    { classes: [0, 0], unsure: [true, true], classNames: ["0"], boxes: [1, 2, 3, 4] },
    { classes: [0, 0], unsure: [true, true], classNames: ["0"], probabilities: new Uint8Array(4) },
  ];
  for (const answer of wrong) {
    const client = clientOf({ recognizeBatch: () => answer });
    const failure = failureOf(client.recognizeBatch(new Uint8Array(2 * 784), { probabilities: true }));
    expect(await failure).toBeInstanceOf(digitserve.Internal);
  }
  const evidence = { width: 2, height: 2, values: [1], frame: new Uint8Array(4) };
  const client = clientOf({ recognize: () => ({ characters: [{ evidence }] }) });
  expect(await failureOf(client.recognize(RAW))).toBeInstanceOf(digitserve.Internal);
});
