import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { expect, test } from "vitest";

import { DeadlineExceeded, DigitClient, Internal, InvalidImage, Overloaded, Unavailable } from "../src/index.js";
import type { Recognition } from "../src/index.js";
import { ANSWER, clientOf, collect, deferred, failureOf, RAW, type Service, unavailable } from "./service.js";

type Stream = NonNullable<Service["recognizeStream"]>;

/** Answers each image with its width. */
const echo: Stream = async function* (requests) {
  for await (const { id = 0n, request } of requests) {
    const content = request?.image?.content;
    const text = `${content?.case === "raw" ? content.value.width : "file"}`;
    yield { id, result: { case: "response", value: { text, characters: [] } } };
  }
};

async function* late<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
  for await (const item of items) {
    yield item;
    await new Promise(setImmediate);
  }
}

const wide = (width: number) => ({ pixels: new Uint8Array(width), width, height: 1 });

function* widths(count: number) {
  for (let width = 1; width <= count; width += 1) yield wide(width);
}

async function textsOf(answers: AsyncIterable<Recognition | Error>): Promise<string[]> {
  return (await collect(answers)).map((answer) => (answer instanceof Error ? answer.name : answer.text));
}

test("an image that is too large has its error in its place, and ends nothing", async () => {
  const client = clientOf({ recognizeStream: echo }, { maxMessageBytes: 2_000 });
  const answers = client.recognizeStream([wide(1), wide(2_000), wide(3)]);
  expect(await textsOf(answers)).toEqual(["1", "MessageTooLarge", "3"]);
});

test("answers come in order, through a small window, from any iterable", async () => {
  const expected = Array.from({ length: 300 }, (_, index) => `${index + 1}`);
  const client = clientOf({ recognizeStream: echo });
  expect(await textsOf(client.recognizeStream(widths(300), { window: 2 }))).toEqual(expected);
  async function* later() {
    yield* widths(300);
  }
  expect(await textsOf(client.recognizeStream(later()))).toEqual(expected);
  expect(await textsOf(client.recognizeStream([]))).toEqual([]);
});

test("images are taken as far ahead as the window, and no further", async () => {
  const client = clientOf({
    async *recognizeStream(requests) {
      const arrived: bigint[] = [];
      const first = deferred();
      const reading = (async () => {
        for await (const { id } of requests) if (arrived.push(id) === 4) first.resolve();
      })();
      await first.promise;
      for (let id = 0n; id < 40n; id += 1n) yield { id, result: { case: "response", value: ANSWER } };
      await reading;
    },
  });
  let answered = 0;
  const ahead: number[] = [];
  function* counted() {
    for (const image of widths(40)) {
      ahead.push(image.width - answered);
      yield image;
    }
  }
  for await (const answer of client.recognizeStream(counted(), { window: 4 })) {
    expect(answer).toMatchObject({ text: "7" });
    answered += 1;
  }
  expect(answered).toBe(40);
  expect(Math.max(...ahead)).toBe(4);
});

test("an image that can't be sent, and one that the server refuses, yield their errors and end nothing", async () => {
  const client = clientOf({
    async *recognizeStream(requests) {
      for await (const { id } of requests) {
        const error = { code: Code.ResourceExhausted, message: "full", field: "", retryAfterMs: 40 };
        yield { id, result: id === 2n ? { case: "error", value: error } : { case: "response", value: ANSWER } };
      }
    },
  });
  const images = [RAW, {} as typeof RAW, RAW, RAW];
  const [first, unsendable, refused, last] = await collect(client.recognizeStream(images));
  expect(first).toMatchObject({ text: "7" });
  expect(unsendable).toBeInstanceOf(InvalidImage);
  expect(unsendable).toMatchObject({ field: "image", code: "INVALID_ARGUMENT" });
  expect(refused).toBeInstanceOf(Overloaded);
  expect(refused).toMatchObject({ retryAfterMs: 40, message: "full", code: "RESOURCE_EXHAUSTED" });
  expect(last).toMatchObject({ text: "7" });
});

test.each([1, 2, 3, 64])("no image is lost where some can't be sent, through a window of %d", async (window) => {
  const images = [...widths(60)].map((image) => (image.width % 3 ? ({} as typeof RAW) : image));
  const expected = images.map((image) => (image.width ? `${image.width}` : "InvalidImage"));
  // A transport that asks for the next request late, as one whose connection is busy.
  const busy: Transport = {
    unary: () => Promise.reject(new Error("not a stream")),
    stream: (method, _signal, _timeoutMs, _header, input) =>
      Promise.resolve({
        stream: true,
        service: method.parent,
        method,
        header: new Headers(),
        trailer: new Headers(),
        message: echo(late(input) as never, {} as never) as AsyncIterable<never>,
      }),
  };
  expect(await textsOf(new DigitClient(busy).recognizeStream(images, { window }))).toEqual(expected);
  expect(await textsOf(clientOf({ recognizeStream: echo }).recognizeStream(images, { window }))).toEqual(expected);
});

test("a stream that breaks before its first answer is sent again, whole", async () => {
  let streams = 0;
  const client = clientOf({
    async *recognizeStream(requests, context) {
      streams += 1;
      if (streams === 1) {
        for await (const { id } of requests) if (id === 2n) throw unavailable("1");
      }
      yield* echo(requests, context);
    },
  });
  expect(await textsOf(client.recognizeStream([{} as typeof RAW, ...widths(9)]))).toEqual([
    "InvalidImage",
    ...Array.from({ length: 9 }, (_, index) => `${index + 1}`),
  ]);
  expect(streams).toBe(2);
});

test("a stream that breaks after an answer is not", async () => {
  let streams = 0;
  const client = clientOf({
    async *recognizeStream(requests) {
      streams += 1;
      for await (const { id } of requests) {
        if (id === 1n) throw unavailable("1");
        yield { id, result: { case: "response", value: ANSWER } };
      }
    },
  });
  const answers = client.recognizeStream(widths(9));
  expect((await answers.next()).value).toMatchObject({ text: "7" });
  expect(await failureOf(answers.next())).toBeInstanceOf(Unavailable);
  expect(streams).toBe(1);
});

test("a push-back below 0 forbids another stream", async () => {
  let streams = 0;
  const client = clientOf({
    async *recognizeStream() {
      streams += 1;
      throw unavailable("-1");
    },
  });
  expect(await failureOf(collect(client.recognizeStream(widths(9))))).toBeInstanceOf(Unavailable);
  expect(streams).toBe(1);
});

test("a stream that breaks is noticed while the next image is awaited", async () => {
  const client = clientOf({
    async *recognizeStream() {
      throw new ConnectError("broken", Code.Internal);
    },
  });
  async function* never() {
    yield await new Promise<typeof RAW>(() => {});
  }
  expect(await failureOf(collect(client.recognizeStream(never())))).toBeInstanceOf(Internal);
});

test("a server that ends early is UNAVAILABLE, and one that mixes up its answers INTERNAL", async () => {
  const early = clientOf({
    async *recognizeStream() {
      yield { id: 0n, result: { case: "response", value: ANSWER } };
    },
  });
  expect(await failureOf(collect(early.recognizeStream(widths(3))))).toMatchObject({ name: "Unavailable" });
  for (const answer of [{ id: 5n, result: { case: "response", value: ANSWER } as const }, { id: 0n }]) {
    const mixed = clientOf({
      async *recognizeStream() {
        yield answer;
      },
    });
    expect(await failureOf(collect(mixed.recognizeStream(widths(3))))).toBeInstanceOf(Internal);
  }
});

test("what the images throw is thrown, after the answers to those before", async () => {
  const cause = new Error("no more film");
  function* broken() {
    yield* widths(3);
    throw cause;
  }
  const answers = clientOf({ recognizeStream: echo }).recognizeStream(broken());
  for (const text of ["1", "2", "3"]) expect((await answers.next()).value).toMatchObject({ text });
  expect(await failureOf(answers.next())).toBe(cause);
});

test("a caller who leaves ends the call, and tells the images", async () => {
  const [ended, closed] = [deferred(), deferred()];
  const client = clientOf({
    recognizeStream(requests, context) {
      context.signal.addEventListener("abort", () => ended.resolve());
      return echo(requests, context) as ReturnType<Stream>;
    },
  });
  function* images() {
    try {
      yield* widths(1_000);
    } finally {
      closed.resolve();
    }
  }
  for await (const answer of client.recognizeStream(images())) {
    expect(answer).toMatchObject({ text: "1" });
    break;
  }
  await Promise.all([ended.promise, closed.promise]);
});

test("abort and deadline end a stream", async () => {
  const silent: Stream = async function* () {
    yield await new Promise<Record<string, never>>(() => {});
  };
  const client = clientOf({ recognizeStream: silent });
  const controller = new AbortController();
  const waiting = failureOf(collect(client.recognizeStream(widths(3), { signal: controller.signal })));
  controller.abort("enough");
  expect(await waiting).toBe("enough");
  expect(await failureOf(collect(client.recognizeStream(widths(3), { timeoutMs: 20 })))).toBeInstanceOf(
    DeadlineExceeded,
  );
});

test("over grpc-web it says that browsers can't, and what can", async () => {
  const client = new DigitClient(createGrpcWebTransport({ baseUrl: "http://127.0.0.1:1" }));
  expect(await failureOf(collect(client.recognizeStream(widths(3))))).toMatchObject({
    name: "Unimplemented",
    code: "UNIMPLEMENTED",
    message: expect.stringContaining("use recognizeBatch") as string,
  });
});

test("arguments are checked at once", () => {
  const client = clientOf({});
  expect(() => client.recognizeStream([], { window: 0 })).toThrow(RangeError);
  expect(() => client.recognizeStream([], { timeoutMs: 0 })).toThrow(RangeError);
  expect(() => client.recognizeStream([], { topK: -1 })).toThrow(RangeError);
});
