// What is sent of a picture. Of a drawing, the ink and a little paper around it, in as few pixels as do: the network sees
// 28 x 28, and what it never sees would only take time, in the browser, on the way and where the server looks for the
// character.

import type { Box, RawImage } from "digitserve";

const MARGIN = 4;
const INK_BELOW = 250; // of 255: the faintest edge of a line
/** A drawing of more pixels than this on its longer side is halved. */
const MOST_SIDE = 80;

export interface Sketch {
  readonly image: RawImage;
  /** Where a box in that image lies in the drawing. */
  place(box: Box): Box;
}

/** Of a picture in black on opaque white, as the pad gives it. */
export function sketchOf(picture: ImageData): Sketch {
  const area = inkArea(picture);
  const factor = Math.max(area.width, area.height) > MOST_SIDE ? 2 : 1;
  return {
    image: shrink(picture, area, factor),
    place: ({ left, top, width, height }) => ({
      left: area.left + left * factor,
      top: area.top + top * factor,
      width: width * factor,
      height: height * factor,
    }),
  };
}

/**
 * A whole opaque picture, unpacked: a photo's noise can't be packed, and trying takes longer than sending it. ITU-R 601, as
 * everywhere else.
 */
export function greyOf({ data, width, height }: ImageData): RawImage {
  const levelAt = (at: number) => 0.299 * data[at]! + 0.587 * data[at + 1]! + 0.114 * data[at + 2]!;
  return { pixels: Uint8Array.from({ length: width * height }, (_, i) => Math.round(levelAt(4 * i))), width, height };
}

/** Whether there is anything on the paper. */
export function hasInk({ data }: ImageData): boolean {
  for (let at = 0; at < data.length; at += 4) if (data[at]! < INK_BELOW) return true;
  return false;
}

/** Where there is ink, with a margin inside the picture; the whole picture where there is none. */
function inkArea({ data, width, height }: ImageData): Box {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (data[4 * (y * width + x)]! >= INK_BELOW) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  if (right < 0) return { left: 0, top: 0, width, height };
  left = Math.max(0, left - MARGIN);
  top = Math.max(0, top - MARGIN);
  right = Math.min(width - 1, right + MARGIN);
  bottom = Math.min(height - 1, bottom + MARGIN);
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** Each pixel the mean of `factor` x `factor`; those beyond the edge repeat the last. */
function shrink(picture: ImageData, area: Box, factor: number): RawImage {
  const width = Math.ceil(area.width / factor);
  const height = Math.ceil(area.height / factor);
  const pixels = new Uint8Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      pixels[y * width + x] = meanOf(picture, area.left + x * factor, area.top + y * factor, factor);
    }
  }
  return { pixels, width, height };
}

function meanOf({ data, width, height }: ImageData, left: number, top: number, factor: number): number {
  let sum = 0;
  for (let y = top; y < top + factor; y += 1) {
    for (let x = left; x < left + factor; x += 1) {
      sum += data[4 * (Math.min(y, height - 1) * width + Math.min(x, width - 1))]!;
    }
  }
  return Math.round(sum / (factor * factor));
}
