// Every kind of image that a caller may hold, as the contract's Image message. The kinds are told apart by what they
// have, not by their classes: a worker has no HTMLCanvasElement, and Node has neither canvas nor ImageData.

import type { MessageInitShape } from "@bufbuild/protobuf";

import type { ImageSchema } from "./digitserve/v1/recognizer_pb.js";
import { greyFrom, type ImageDataLike, type RawImage } from "./grey.js";
import { encodePng } from "./png.js";

/** A whole image file; `Blob` and `File` are ones. */
export interface BlobLike {
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** What can be drawn on; `HTMLCanvasElement` and `OffscreenCanvas` are ones. */
export interface CanvasLike {
  readonly width: number;
  readonly height: number;
  getContext(kind: "2d"): CanvasContextLike | null;
}

export interface CanvasContextLike {
  getImageData(left: number, top: number, width: number, height: number): ImageDataLike;
}

/**
 * An image: a file (PNG, JPEG, WebP, BMP or GIF) as a Blob or its bytes, a canvas or its ImageData, or raw 8-bit grey
 * pixels.
 */
export type ImageInput = BlobLike | Uint8Array | CanvasLike | ImageDataLike | RawImage;

export type ImageMessage = MessageInitShape<typeof ImageSchema>;

// A PNG of fewer pixels hardly ever is smaller than they are.
const TINY_PIXELS = 1_024;

/**
 * Turns an image of any kind into a message. A canvas and its ImageData become grey, and travel as raw pixels or as a
 * PNG, whichever is smaller.
 *
 * Rejects with a TypeError if it is no kind of image, and with a RangeError if its size and pixels don't match.
 */
export async function messageFrom(image: ImageInput): Promise<ImageMessage> {
  if (image instanceof Uint8Array) return encoded(image);
  if (typeof image === "object" && image !== null) {
    if ("arrayBuffer" in image) return encoded(new Uint8Array(await image.arrayBuffer()));
    if ("pixels" in image) return raw(image);
    if ("getContext" in image) return smallest(greyFrom(read(image)));
    if ("data" in image) return smallest(greyFrom(checked(image)));
  }
  throw new TypeError(
    "image is no kind of image: give a Blob, a canvas, ImageData, a file's bytes or {pixels, width, height}",
  );
}

function encoded(bytes: Uint8Array): ImageMessage {
  return { content: { case: "encoded", value: bytes } };
}

function raw({ pixels, width, height }: RawImage): ImageMessage {
  if (!(pixels instanceof Uint8Array))
    throw new TypeError("image.pixels must be a Uint8Array: one byte for each pixel");
  checkSize(pixels.length, width, height, 1);
  return { content: { case: "raw", value: { pixels, width, height } } };
}

function read(canvas: CanvasLike): ImageDataLike {
  if (!canvas.width || !canvas.height) throw new RangeError("image is a canvas without pixels");
  const context = canvas.getContext("2d");
  if (!context) throw new TypeError("image is a canvas that is not drawn on in 2d: give its Blob or ImageData");
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function checked(image: ImageDataLike): ImageDataLike {
  if (!(image.data instanceof Uint8ClampedArray))
    throw new TypeError("image.data must be a Uint8ClampedArray: 8-bit RGBA");
  checkSize(image.data.length, image.width, image.height, 4);
  return image;
}

function checkSize(length: number, width: number, height: number, bytesPerPixel: number): void {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new RangeError(`image is ${width} x ${height}: give whole numbers of pixels above 0`);
  }
  if (length !== width * height * bytesPerPixel) {
    throw new RangeError(
      `image holds ${length} bytes, but ${width} x ${height} pixels are ${width * height * bytesPerPixel}`,
    );
  }
}

async function smallest(grey: RawImage): Promise<ImageMessage> {
  const png = grey.pixels.length > TINY_PIXELS ? await encodePng(grey) : undefined;
  return png && png.length < grey.pixels.length ? encoded(png) : raw(grey);
}
