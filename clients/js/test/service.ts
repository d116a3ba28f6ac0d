// A service in memory, whose calls each test writes for itself.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport, type ServiceImpl } from "@connectrpc/connect";

import { type ClientOptions, DigitClient } from "../src/index.js";
import { Recognizer, type RecognizeResponseSchema } from "../src/digitserve/v1/recognizer_pb.js";

export type Service = Partial<ServiceImpl<typeof Recognizer>>;

export const ANSWER = {
  text: "7",
  characters: [{ label: "7", probability: 0.5, unsure: true, box: { left: 1, top: 2, width: 3, height: 4 } }],
  model: { name: "digits", version: "1" },
  timing: { queueMs: 0.25, computeMs: 0.5, batchSize: 2 },
} satisfies MessageInitShape<typeof RecognizeResponseSchema>;

export const RAW = { pixels: new Uint8Array(28 * 28), width: 28, height: 28 };

export function clientOf(service: Service, options?: ClientOptions): DigitClient {
  return new DigitClient(
    createRouterTransport((router) => {
      router.service(Recognizer, service);
    }),
    options,
  );
}

/** A client whose first calls to `recognize` end in these, and the others well. And how many calls there were. */
export function failing(...reasons: ConnectError[]): { client: DigitClient; calls: () => number } {
  let calls = 0;
  const recognize = () => {
    calls += 1;
    const reason = reasons[calls - 1];
    if (reason) throw reason;
    return ANSWER;
  };
  return { client: clientOf({ recognize }), calls: () => calls };
}

export function unavailable(pushbackMs?: string): ConnectError {
  return new ConnectError("draining", Code.Unavailable, pushbackMs ? { "grpc-retry-pushback-ms": pushbackMs } : {});
}

/** What a promise rejects with. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (reason) {
    return reason;
  }
  throw new Error("it did not reject");
}

/** A promise and what settles it. */
export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  return { promise: new Promise<T>((settle) => (resolve = settle)), resolve };
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
