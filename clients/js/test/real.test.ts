// Against the real server: gRPC on Node, and grpc-web as in a browser, through a proxy.

import { readFile } from "node:fs/promises";
import type { Server } from "node:http";

import { createGrpcTransport } from "@connectrpc/connect-node";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { DeadlineExceeded, DigitClient, InvalidImage, MessageTooLarge, type ImageInput } from "../src/index.js";
import { collect, failureOf } from "./service.js";
import { findOrStartServer, nodeTransport, ROOT, type RunningServer, startProxy, startServer } from "./server.js";

let server: RunningServer;
let proxy: Server;
const clients = new Map<string, DigitClient>();
let seven: Uint8Array;

beforeAll(async () => {
  seven = await readFile(`${ROOT}docs/examples/seven.png`);
  server = await findOrStartServer();
  const started = await startProxy(server.address);
  proxy = started.proxy;
  clients.set("gRPC", new DigitClient(nodeTransport(server.address)));
  clients.set("grpc-web", new DigitClient(createGrpcWebTransport({ baseUrl: started.url })));
});

afterAll(async () => {
  proxy.close();
  proxy.closeAllConnections();
  await server.stop();
});

/** A 7 in black on white, or on nothing, as a canvas would hold it. */
function drawnSeven(paperAlpha: number) {
  const side = 280;
  const data = new Uint8ClampedArray(4 * side * side);
  for (let at = 0; at < side * side; at += 1) {
    const [x, y] = [at % side, Math.floor(at / side)];
    const isBar = y > 60 && y < 82 && x > 80 && x < 200;
    const isStem = y >= 60 && y < 220 && Math.abs(x - (195 - (y - 60) * 0.5)) < 11;
    data.set(isBar || isStem ? [0, 0, 0, 255] : [255, 255, 255, paperAlpha], 4 * at);
  }
  return { data, width: side, height: side };
}

describe.each(["gRPC", "grpc-web"])("over %s", (way) => {
  const client = () => clients.get(way)!;

  test("a file is read", async () => {
    const answer = await client().recognize(seven, { topK: 3, explain: true });
    expect(answer).toMatchObject({ text: "7", model: { name: "digits" }, characters: [{ label: "7", unsure: false }] });
    const [character] = answer.characters;
    expect(character?.alternatives.length).toBe(3);
    expect(character?.alternatives[0]).toEqual({ label: "7", probability: character?.probability });
    expect(character?.evidence?.frame).toMatchObject({ width: 28, height: 28 });
    expect(character?.box.width).toBeGreaterThan(50);
    expect(answer.timing.batchSize).toBeGreaterThan(0);
  });

  test("a drawing is read, on white paper and on none", async () => {
    const onWhite = await client().recognize(drawnSeven(255));
    const onNothing = await client().recognize(drawnSeven(0));
    expect([onWhite.text, onNothing.text]).toEqual(["7", "7"]);
    expect(onNothing.characters[0]?.box).toEqual(onWhite.characters[0]?.box);
  });

  test("what the network saw can be sent back, alone or packed", async () => {
    const [character] = (await client().recognize(seven, { explain: true })).characters;
    const frame = character!.evidence!.frame;
    expect((await client().recognize(frame, { layout: "framed" })).text).toBe("7");
    const packed = await client().recognizeBatch([frame.pixels, new Uint8Array(784), frame.pixels], {
      probabilities: true,
    });
    expect(packed).toMatchObject({ labels: ["7", "", "7"], classes: [7, -1, 7], unsure: [false, true, false] });
    expect(packed.probabilities?.[0]?.[7]).toBeCloseTo(character!.probability, 3);
  });

  test("5,000 images", async () => {
    const { labels } = await client().recognizeBatch(new Uint8Array(5_000 * 784).fill(1), { timeoutMs: 30_000 });
    expect(labels.length).toBe(5_000);
  });

  test("models", async () => {
    const models = await client().models();
    expect(models.find(({ name }) => name === "digits")).toMatchObject({ inputHeight: 28, inputWidth: 28 });
  });

  test("the server's details arrive", async () => {
    const error = await failureOf(client().recognize(new Uint8Array(9)));
    expect(error).toBeInstanceOf(InvalidImage);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "image.encoded" });
    const missing = await failureOf(client().recognize(seven, { model: "nobody" }));
    expect(missing).toMatchObject({ name: "ModelNotFound", code: "NOT_FOUND" });
    const page = await failureOf(client().recognize(seven, { layout: "page" }));
    expect(page).toMatchObject({ name: "Unimplemented", field: "layout" });
  });

  test("a deadline ends a call", async () => {
    const images = new Uint8Array(4_000 * 784).fill(1);
    expect(await failureOf(client().recognizeBatch(images, { timeoutMs: 1 }))).toBeInstanceOf(DeadlineExceeded);
  });
});

test("a stream, on Node", async () => {
  const images: ImageInput[] = [...Array.from({ length: 100 }, () => seven), new Uint8Array(3), seven];
  const answers = await collect(clients.get("gRPC")!.recognizeStream(images));
  expect(answers.length).toBe(102);
  expect(answers[100]).toBeInstanceOf(InvalidImage);
  expect(answers[100]).toMatchObject({ field: "image.encoded" });
  expect(new Set(answers.map((answer) => (answer instanceof Error ? answer.name : answer.text)))).toEqual(
    new Set(["7", "InvalidImage"]),
  );
});

test("a message over the transport's limit", async () => {
  const transport = createGrpcTransport({ baseUrl: `http://${server.address}`, writeMaxBytes: 1_000 });
  const error = await failureOf(new DigitClient(transport).recognizeBatch(new Uint8Array(2 * 784)));
  expect(error).toBeInstanceOf(MessageTooLarge);
});

// Some hundred megabytes through a busy machine.
const LARGE_MS = 60_000;

/** How many of these small calls, one after another, are answered right. */
async function countRight(client: DigitClient, calls: number): Promise<number> {
  let right = 0;
  for (let call = 0; call < calls; call += 1) right += Number((await client.recognize(seven)).text === "7");
  return right;
}

test("over 64 MiB are refused before they are sent, and by the server if they are; both spoil nothing", async () => {
  const client = new DigitClient(nodeTransport(server.address));
  const bold = new DigitClient(nodeTransport(server.address), { maxMessageBytes: 1e9 });
  const tooLarge = new Uint8Array(70e6);
  const here = await failureOf(client.recognize(tooLarge));
  expect(here).toMatchObject({ name: "MessageTooLarge", message: expect.stringContaining("maxMessageBytes") });
  const there = await failureOf(bold.recognize(tooLarge));
  expect(there).toMatchObject({ name: "MessageTooLarge", message: expect.stringContaining("larger than max (") });
  expect(await countRight(client, 10)).toBe(10);
  expect(await countRight(bold, 10)).toBe(10);
}, LARGE_MS);

test("a large upload spoils neither the small calls beside it nor, ended early, those after it", async () => {
  const client = new DigitClient(nodeTransport(server.address));
  const large = new Uint8Array(60e6);
  const sent = failureOf(client.recognize(large, { timeoutMs: 20_000 }));
  expect(await countRight(client, 20)).toBe(20);
  expect(await sent).toBeInstanceOf(InvalidImage);
  expect(await failureOf(client.recognize(large, { timeoutMs: 50 }))).toBeInstanceOf(DeadlineExceeded);
  expect(await countRight(client, 10)).toBe(10);
}, LARGE_MS);

test("a proxy that is gone is UNAVAILABLE over grpc-web", async () => {
  const { url, proxy: own } = await startProxy(server.address);
  const client = new DigitClient(createGrpcWebTransport({ baseUrl: url }));
  expect((await client.recognize(seven)).text).toBe("7");
  own.close();
  own.closeAllConnections();
  expect(await failureOf(client.recognize(seven, { timeoutMs: 400 }))).toMatchObject({ name: "Unavailable" });
});

test("a server that is killed is UNAVAILABLE to all that wait, and the same client finds the next one", async () => {
  const own = await startServer();
  const client = new DigitClient(nodeTransport(own.address));
  async function* endless() {
    for (;;) yield await Promise.resolve(seven);
  }
  const answers = client.recognizeStream(endless());
  expect((await answers.next()).value).toMatchObject({ text: "7" });
  const batch = failureOf(client.recognizeBatch(new Uint8Array(20_000 * 784).fill(1), { timeoutMs: 2_000 }));
  await own.stop("SIGKILL");
  expect(await failureOf(collect(answers))).toMatchObject({ name: "Unavailable" });
  expect(await batch).toMatchObject({ name: "Unavailable" });
  expect(await failureOf(client.recognize(seven, { timeoutMs: 400 }))).toMatchObject({ name: "Unavailable" });
  const next = await startServer(Number(own.address.split(":")[1]));
  expect((await client.recognize(seven)).text).toBe("7");
  await next.stop();
});
