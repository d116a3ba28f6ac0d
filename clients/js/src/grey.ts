// From a canvas' pixels to grey ones, by the same rules that the server has for image files (server/decode.py).

/** Pixels as a canvas gives them; `ImageData` is one. */
export interface ImageDataLike {
  /** RGBA, row by row, not premultiplied. */
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}

/** Raw 8-bit grey pixels. */
export interface RawImage {
  /** Row by row, exactly width * height bytes. */
  readonly pixels: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** Grey, with paper under the transparent parts. */
export function greyFrom({ data, width, height }: ImageDataLike): RawImage {
  const pixels = new Uint8Array(width * height);
  const levels = new Uint32Array(256);
  let opaque = 0;
  for (let at = 0; at < pixels.length; at += 1) {
    const level = luma(data[4 * at]!, data[4 * at + 1]!, data[4 * at + 2]!);
    const alpha = data[4 * at + 3]!;
    pixels[at] = level;
    if (alpha > 127) {
      levels[level]! += 1;
      opaque += 1;
    }
  }
  if (opaque < pixels.length) layPaper(pixels, data, paperLevel(levels, opaque, pixels.length));
  return { pixels, width, height };
}

/** ITU-R 601, in the whole numbers that Pillow uses. */
function luma(red: number, green: number, blue: number): number {
  return (19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16;
}

/**
 * A drawing on a transparent layer is opaque only where the ink is, so the paper must contrast with it; a picture with
 * a few transparent corners gets its own most common brightness there. Undefined where nothing is opaque.
 */
function paperLevel(levels: Uint32Array, opaque: number, total: number): number | undefined {
  if (opaque === 0) return undefined;
  const level = (levelAt(levels, (opaque - 1) >> 1) + levelAt(levels, opaque >> 1)) / 2;
  if (opaque >= total / 2) return level;
  return level > 127 ? 0 : 255;
}

/** The level of the pixel that has so many others below it. */
function levelAt(levels: Uint32Array, rank: number): number {
  let below = 0;
  return levels.findIndex((count) => (below += count) > rank);
}

function layPaper(pixels: Uint8Array, data: Uint8ClampedArray, paper: number | undefined): void {
  if (paper === undefined) {
    pixels.fill(0);
    return;
  }
  for (let at = 0; at < pixels.length; at += 1) {
    const share = data[4 * at + 3]! / 255;
    pixels[at] = pixels[at]! * share + paper * (1 - share) + 0.5;
  }
}
