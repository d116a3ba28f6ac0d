import { inflateSync } from "node:zlib";

import { afterEach, expect, test, vi } from "vitest";

import { greyFrom } from "../src/grey.js";
import { type ImageInput, messageFrom } from "../src/image.js";
import { failureOf } from "./service.js";

type Rgba = [number, number, number, number];

/** Pixels as a canvas gives them. */
function imageData(width: number, height: number, at: (x: number, y: number) => Rgba) {
  const data = Uint8ClampedArray.from({ length: 4 * width * height }, (_, index) => {
    const pixel = index >> 2;
    return at(pixel % width, Math.floor(pixel / width))[index & 3]!;
  });
  return { data, width, height };
}

function canvas(image: ReturnType<typeof imageData>) {
  return { width: image.width, height: image.height, getContext: () => ({ getImageData: () => image }) };
}

const STROKE = imageData(100, 60, (x) => (x > 40 && x < 50 ? [0, 0, 0, 255] : [255, 255, 255, 255]));
const FILE = Uint8Array.of(137, 80, 78, 71);

/** Reads a grey PNG without filters, as ours are. */
function readPng(file: Uint8Array) {
  const view = new DataView(file.buffer, file.byteOffset);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const rows = inflateSync(file.subarray(41, 41 + view.getUint32(33)));
  const pixels = Array.from({ length: height }, (_, row) => [
    ...rows.subarray(row * (width + 1) + 1, (row + 1) * (width + 1)),
  ]);
  return { width, height, pixels: Uint8Array.from(pixels.flat()) };
}

afterEach(() => {
  vi.unstubAllGlobals();
});

test.each([
  ["the bytes of a file", FILE],
  ["a Buffer", Buffer.from(FILE)],
  ["a Blob", new Blob([FILE])],
  ["a File", new File([FILE], "seven.png")],
])("%s travels as it is", async (_, image) => {
  const { content } = await messageFrom(image as ImageInput);
  expect(content?.case).toBe("encoded");
  expect([...(content?.value as Uint8Array)]).toEqual([...FILE]);
});

test("raw pixels travel as they are, however large", async () => {
  const image = { pixels: new Uint8Array(10_000), width: 200, height: 50 };
  expect(await messageFrom(image)).toEqual({ content: { case: "raw", value: image } });
});

test("a canvas and its ImageData become a PNG where that is smaller", async () => {
  for (const image of [STROKE, canvas(STROKE)]) {
    const { content } = await messageFrom(image);
    if (content?.case !== "encoded") throw new Error("not a file");
    expect(content.value.length).toBeLessThan(200);
    expect(readPng(content.value)).toEqual(greyFrom(STROKE));
  }
});

test("a small one, or one of noise, travels as raw grey pixels", async () => {
  const small = imageData(28, 28, (x) => [x, x, x, 255]);
  let seed = 1;
  const noise = imageData(60, 60, () => {
    seed = (seed * 48_271) % 0x7fffffff;
    return [seed & 255, (seed >> 8) & 255, (seed >> 16) & 255, 255];
  });
  for (const image of [small, noise]) {
    expect((await messageFrom(image)).content).toEqual({ case: "raw", value: greyFrom(image) });
  }
});

test("a platform that can't deflate sends raw pixels", async () => {
  vi.stubGlobal("CompressionStream", undefined);
  expect((await messageFrom(STROKE)).content?.case).toBe("raw");
});

test("grey is weighed as ITU-R 601 says", () => {
  const colours: Rgba[] = [
    [255, 0, 0, 255],
    [0, 255, 0, 255],
    [0, 0, 255, 255],
    [255, 255, 255, 255],
  ];
  expect([...greyFrom(imageData(4, 1, (x) => colours[x]!)).pixels]).toEqual([76, 150, 29, 255]);
});

test.each([
  ["dark ink on a transparent layer gets white paper", [20, 20, 20], 255],
  ["light ink on a transparent layer gets black paper", [250, 250, 250], 0],
])("%s", (_, [red, green, blue], paper) => {
  const ink: Rgba = [red!, green!, blue!, 255];
  const grey = greyFrom(imageData(10, 1, (x) => (x < 2 ? ink : [0, 0, 0, 0])));
  expect([...grey.pixels]).toEqual([red, red, ...Array.from({ length: 8 }, () => paper)]);
});

test("transparent corners get the picture's own brightness, and half-transparent edges are mixed", () => {
  const levels = [10, 200, 201, 200];
  const grey = greyFrom(imageData(4, 1, (x) => [levels[x]!, levels[x]!, levels[x]!, x === 0 ? 51 : 255]));
  expect([...grey.pixels]).toEqual([162, 200, 201, 200]); // 10 * 0.2 + 200 * 0.8
});

test("a canvas that nobody has drawn on is blank", () => {
  expect([...greyFrom(imageData(3, 1, () => [0, 0, 0, 0])).pixels]).toEqual([0, 0, 0]);
});

test.each([
  ["a string", "seven.png", TypeError],
  ["null", null, TypeError],
  ["any object", {}, TypeError],
  ["pixels that are no bytes", { pixels: [1], width: 1, height: 1 }, TypeError],
  ["too few pixels", { pixels: new Uint8Array(3), width: 2, height: 2 }, RangeError],
  ["half a pixel", { pixels: new Uint8Array(3), width: 1.5, height: 2 }, RangeError],
  ["no pixels", { pixels: new Uint8Array(0), width: 0, height: 0 }, RangeError],
  ["ImageData of floats", { data: new Float32Array(4), width: 1, height: 1 }, TypeError],
  ["ImageData of another size", { data: new Uint8ClampedArray(8), width: 1, height: 1 }, RangeError],
  ["a canvas without pixels", { width: 0, height: 9, getContext: () => null }, RangeError],
  ["a canvas for WebGL", { width: 9, height: 9, getContext: () => null }, TypeError],
])("%s is refused", async (_, image, kind) => {
  expect(await failureOf(messageFrom(image as unknown as ImageInput))).toBeInstanceOf(kind);
});
