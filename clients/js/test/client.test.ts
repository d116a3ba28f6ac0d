import { createRouterTransport } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { Ink, Layout, Priority } from "../src/digitserve/v1/recognizer_pb.js";
import { DigitClient, Internal, MessageTooLarge, type RecognizeOptions, Unavailable } from "../src/index.js";
import { ANSWER, clientOf, deferred, failureOf, RAW, unavailable } from "./service.js";

test("recognize sends every option, and returns plain values", async () => {
  const client = clientOf({
    recognize: ({ image, model, layout, ink, topK, explain, priority }) => {
      expect(image?.content).toMatchObject({ case: "raw", value: { width: 28, height: 28 } });
      expect({ model, layout, ink, topK, explain, priority }).toEqual({
        model: "digits:1",
        layout: Layout.SINGLE,
        ink: Ink.DARK,
        topK: 3,
        explain: true,
        priority: Priority.BULK,
      });
      const evidence = { width: 1, height: 2, values: [1, -1], frame: new Uint8Array(9) };
      const alternatives = [{ label: "7", probability: 0.5 }];
      return { ...ANSWER, characters: [{ ...ANSWER.characters[0]!, alternatives, evidence }] };
    },
  });
  const words = { layout: "single", ink: "dark", priority: "bulk" } as const;
  const options = { model: "digits:1", topK: 3, explain: true, ...words };
  expect(await client.recognize(RAW, options)).toStrictEqual({
    text: "7",
    characters: [
      {
        label: "7",
        probability: 0.5,
        unsure: true,
        alternatives: [{ label: "7", probability: 0.5 }],
        box: { left: 1, top: 2, width: 3, height: 4 },
        evidence: { width: 1, height: 2, values: [1, -1], frame: { pixels: new Uint8Array(9), width: 3, height: 3 } },
      },
    ],
    model: { name: "digits", version: "1" },
    timing: { queueMs: 0.25, computeMs: 0.5, batchSize: 2 },
  });
});

test("what is not said is the server's to choose", async () => {
  const client = clientOf({
    recognize: ({ model, layout, ink, topK, explain, priority }) => {
      expect([model, layout, ink, topK, explain]).toEqual(["", Layout.AUTO, Ink.AUTO, 0, false]);
      expect(priority).toBe(Priority.INTERACTIVE);
      return {};
    },
  });
  expect(await client.recognize(RAW)).toMatchObject({ text: "", characters: [], model: { name: "" } });
});

test.each([
  { layout: "diagonal" },
  { layout: "toString" },
  { ink: "blue" },
  { priority: "high" },
  { topK: -1 },
  { topK: 1.5 },
  { topK: 2 ** 32 },
])("%j is refused before anything is sent", async (options) => {
  expect(await failureOf(clientOf({}).recognize(RAW, options as RecognizeOptions))).toBeInstanceOf(RangeError);
});

test("models", async () => {
  const model = {
    name: "digits",
    version: "2",
    labels: ["stable"],
    classNames: ["0", "1"],
    inputHeight: 28,
    inputWidth: 28,
  };
  const more = {
    accuracy: 0.5,
    accuracyN: 4,
    threshold: 0.25,
    executionProvider: "X",
    maxBatchSize: 8,
    description: "d",
  };
  const client = clientOf({ listModels: () => ({ models: [{ ...model, ...more }] }) });
  expect(await client.models()).toStrictEqual([{ ...model, ...more }]);
});

/** A service that reads each image's first pixel as its class, and remembers how many images each call held. */
function readingFirstPixels() {
  const sizes: number[] = [];
  const client = clientOf({
    recognizeBatch: ({ images, probabilities, layout, priority }) => {
      expect(priority).toBe(Priority.BULK);
      const count = images.length / 784;
      sizes.push(count);
      const classes = Array.from({ length: count }, (_, index) => images[784 * index]! - 1);
      const table = new DataView(new ArrayBuffer(8 * count));
      classes.forEach((index, row) => index >= 0 && table.setFloat32(8 * row + 4 * index, 0.75, true));
      const isSecond = sizes.length === 2;
      return {
        classes,
        unsure: classes.map((index) => index < 0),
        classNames: ["a", "b"],
        model: { name: "letters", version: "1" },
        timing: { queueMs: isSecond ? 1 : 2, computeMs: isSecond ? 4 : 3, batchSize: count },
        probabilities: probabilities ? new Uint8Array(table.buffer) : new Uint8Array(),
        boxes: layout === Layout.AUTO && isSecond ? classes.flatMap(() => [1, 2, 3, 4]) : [],
      };
    },
  });
  return { client, sizes };
}

const images = (...firsts: number[]) => firsts.map((first) => new Uint8Array(784).fill(first, 0, 1));

test("a batch of three, one of them blank", async () => {
  const { client } = readingFirstPixels();
  expect(await client.recognizeBatch(images(2, 0, 1), { probabilities: true })).toStrictEqual({
    labels: ["b", "", "a"],
    classes: [1, -1, 0],
    unsure: [false, true, false],
    probabilities: [Float32Array.of(0, 0.75), Float32Array.of(0, 0), Float32Array.of(0.75, 0)],
    classNames: ["a", "b"],
    model: { name: "letters", version: "1" },
    timing: { queueMs: 2, computeMs: 3, batchSize: 3 },
  });
});

test("one packed array is the same as an array of arrays", async () => {
  const packed = new Uint8Array(2 * 784);
  packed[0] = 2;
  packed[784] = 1;
  const answer = await readingFirstPixels().client.recognizeBatch(packed);
  expect(answer.labels).toEqual(["b", "a"]);
  expect(answer).toEqual(await readingFirstPixels().client.recognizeBatch(images(2, 1)));
});

test("a batch says how large its images are where that is known, so that those of another size are refused", async () => {
  const sizes: number[][] = [];
  const client = clientOf({
    recognizeBatch: ({ height, width }) => {
      sizes.push([height, width]);
      return { classes: [0], unsure: [true], classNames: ["0"] };
    },
  });
  for (const bytes of [28 * 28, 56 * 56, 14 * 50]) await client.recognizeBatch([new Uint8Array(bytes)]);
  await client.recognizeBatch(new Uint8Array(784));
  expect(sizes).toEqual([[28, 28], [56, 56], [0, 0], [28, 28]]);
});

test("over 4,096 images travel in several calls, and are joined in order", async () => {
  const { client, sizes } = readingFirstPixels();
  const many = new Uint8Array(9_000 * 784);
  for (let index = 0; index < 9_000; index += 1) many[index * 784] = 1 + (index % 2);
  const answer = await client.recognizeBatch(many, { probabilities: true, layout: "auto" });
  expect(sizes).toEqual([4_096, 4_096, 808]);
  expect(answer.classes).toEqual(Array.from({ length: 9_000 }, (_, index) => index % 2));
  expect(answer.probabilities?.[8_999]).toEqual(Float32Array.of(0, 0.75));
  expect(answer.boxes?.length).toBe(9_000);
  expect(answer.boxes?.[0]).toEqual({ left: 0, top: 0, width: 28, height: 28 });
  expect(answer.boxes?.[5_000]).toEqual({ left: 1, top: 2, width: 3, height: 4 });
  expect(answer.timing).toEqual({ queueMs: 2, computeMs: 4, batchSize: 4_096 });
});

test("a model that changes in the middle of a batch is an error", async () => {
  let calls = 0;
  const client = clientOf({
    recognizeBatch: ({ images }) => {
      const numbers = Array.from({ length: images.length / 784 }, () => 0);
      return {
        classes: numbers,
        unsure: numbers.map(() => false),
        classNames: ["a"],
        model: { version: `${(calls += 1)}` },
      };
    },
  });
  expect(await failureOf(client.recognizeBatch(new Uint8Array(5_000 * 784)))).toBeInstanceOf(Internal);
});

test("the first part that fails ends the others", async () => {
  const ended = deferred();
  const client = clientOf({
    recognizeBatch: (_, { signal }) => {
      if (signal.aborted) throw new Error("never");
      calls += 1;
      if (calls === 2) throw unavailable("-1");
      signal.addEventListener("abort", () => ended.resolve());
      return new Promise(() => {});
    },
  });
  let calls = 0;
  expect(await failureOf(client.recognizeBatch(new Uint8Array(20_000 * 784)))).toBeInstanceOf(Unavailable);
  await ended.promise;
  expect(calls).toBe(2);
});

test("an abort ends a batch with the signal's reason", async () => {
  const controller = new AbortController();
  const client = clientOf({
    recognizeBatch: () => {
      controller.abort("enough");
      return new Promise(() => {});
    },
  });
  expect(await failureOf(client.recognizeBatch(RAW.pixels, { signal: controller.signal }))).toBe("enough");
});

test.each([
  ["no bytes", new Uint8Array(0), RangeError],
  ["half an image", new Uint8Array(392), RangeError],
  ["no images", [], RangeError],
  ["images of two sizes", [new Uint8Array(784), new Uint8Array(783)], RangeError],
  ["numbers", [1, 2], TypeError],
  ["a string", "images", TypeError],
])("a batch of %s is refused before anything is sent", async (_, batch, kind) => {
  expect(await failureOf(clientOf({}).recognizeBatch(batch as Uint8Array))).toBeInstanceOf(kind);
});

test("a request over maxMessageBytes is not sent, and one byte less is", async () => {
  const recognizeBatch = () => ({ classes: [0], unsure: [true], classNames: ["0"] });
  const service = { recognize: () => ANSWER, recognizeBatch };
  const limited = (maxMessageBytes: number) => clientOf(service, { maxMessageBytes });
  // An image of 1,000 bytes, two keys with their lengths, layout, ink and priority; 784 bytes, a key with its length, layout, priority, height and width.
  expect(await limited(1_012).recognize(new Uint8Array(1_000))).toMatchObject({ text: "7" });
  expect(await failureOf(limited(1_011).recognize(new Uint8Array(1_000)))).toBeInstanceOf(MessageTooLarge);
  expect(await failureOf(limited(999).recognize(new Uint8Array(1_000)))).toBeInstanceOf(MessageTooLarge);
  expect(await limited(795).recognizeBatch(RAW.pixels)).toMatchObject({ classes: [0] });
  expect(await failureOf(limited(794).recognizeBatch(RAW.pixels))).toBeInstanceOf(MessageTooLarge);
});

test("a client needs a transport, and a limit that counts bytes", () => {
  const make = (...words: unknown[]) => () => Reflect.construct(DigitClient, words) as DigitClient;
  const { unary } = createRouterTransport(() => {});
  for (const transport of [undefined, null, "http://localhost:50051", {}]) {
    expect(make(transport)).toThrow(TypeError);
    expect(make(transport)).toThrow(/^transport is none: give what createGrpcTransport or /);
  }
  for (const maxMessageBytes of [0, -1, Number.NaN, "many"]) {
    expect(make({ unary }, { maxMessageBytes })).toThrow(RangeError);
  }
  expect(make({ unary })).not.toThrow();
});

test("a batch has no other layouts than two", async () => {
  expect(await failureOf(clientOf({}).recognizeBatch(RAW.pixels, { layout: "line" as "auto" }))).toBeInstanceOf(
    RangeError,
  );
});
