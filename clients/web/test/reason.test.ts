import { expect, test } from "vitest";

import { placeOfFrame } from "../src/reason.js";

/** A frame of 28 x 28 with ink in a rectangle, and no evidence that matters here. */
function evidenceOf(left: number, top: number, width: number, height: number) {
  const pixels = new Uint8Array(28 * 28);
  for (let y = top; y < top + height; y += 1) pixels.fill(255, y * 28 + left, y * 28 + left + width);
  return { width: 7, height: 7, values: [], frame: { pixels, width: 28, height: 28 } };
}

test("the frame lies where its ink covers the character's box", () => {
  const place = placeOfFrame(evidenceOf(9, 4, 10, 20), { left: 50, top: 30, width: 30, height: 60 });
  expect(place).toEqual({ left: 50 - 9 * 3, top: 30 - 4 * 3, width: 84, height: 84 });
});

test("a frame without ink lies nowhere", () => {
  expect(placeOfFrame(evidenceOf(0, 0, 0, 0), { left: 0, top: 0, width: 128, height: 128 })).toBeUndefined();
});
