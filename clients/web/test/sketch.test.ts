import { expect, test } from "vitest";

import { greyOf, hasInk, sketchOf } from "../src/sketch.js";

const SIDE = 128;

/** White paper with one black rectangle. */
function paper(left = 0, top = 0, width = 0, height = 0): ImageData {
  const data = new Uint8ClampedArray(4 * SIDE * SIDE).fill(255);
  for (let y = top; y < top + height; y += 1) {
    for (let x = left; x < left + width; x += 1) data.set([0, 0, 0, 255], 4 * (y * SIDE + x));
  }
  return { data, width: SIDE, height: SIDE, colorSpace: "srgb" } as ImageData;
}

test("a small drawing is sent as it is, with a margin", () => {
  const { image, place } = sketchOf(paper(40, 50, 10, 20));
  expect([image.width, image.height]).toEqual([18, 28]);
  expect(image.pixels.filter((level) => level === 0).length).toBe(200);
  expect(place({ left: 4, top: 4, width: 10, height: 20 })).toEqual({ left: 40, top: 50, width: 10, height: 20 });
});

test("a large drawing is halved, and its box is found again", () => {
  const { image, place } = sketchOf(paper(20, 10, 60, 100));
  expect([image.width, image.height]).toEqual([34, 54]);
  expect(place({ left: 2, top: 2, width: 30, height: 50 })).toEqual({ left: 20, top: 10, width: 60, height: 100 });
});

test("ink at the edge stays at the edge", () => {
  const { image, place } = sketchOf(paper(0, 118, 5, 10));
  expect([image.width, image.height]).toEqual([9, 14]);
  expect(image.pixels[13 * 9]).toBe(0);
  expect(place({ left: 0, top: 4, width: 5, height: 10 })).toEqual({ left: 0, top: 118, width: 5, height: 10 });
});

test("an odd drawing loses no edge when it is halved", () => {
  const { image } = sketchOf(paper(27, 0, 101, 128));
  expect([image.width, image.height]).toEqual([53, 64]);
  expect(Math.max(...image.pixels.subarray(62 * 53 + 2, 63 * 53))).toBe(0);
});

test("no ink at all is a blank sheet", () => {
  const { image } = sketchOf(paper());
  expect([image.width, image.height]).toEqual([64, 64]);
  expect(new Set(image.pixels)).toEqual(new Set([255]));
});

test("one dark pixel is ink, and clean paper has none", () => {
  expect(hasInk(paper())).toBe(false);
  expect(hasInk(paper(127, 127, 1, 1))).toBe(true);
});

test("a photo becomes grey, and stays as large as it is", () => {
  const data = Uint8ClampedArray.of(255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 255, 255, 255, 255);
  const picture = { data, width: 2, height: 2, colorSpace: "srgb" } as ImageData;
  expect(greyOf(picture)).toEqual({ pixels: Uint8Array.of(76, 150, 29, 255), width: 2, height: 2 });
});
