// Client for digitserve: handwritten characters in, text out.

export {
  type BatchOptions,
  type ClientOptions,
  DigitClient,
  type RecognizeOptions,
  type StreamOptions,
} from "./client.js";
export * from "./errors.js";
export type { ImageDataLike, RawImage } from "./grey.js";
export type { BlobLike, CanvasLike, ImageInput } from "./image.js";
export type * from "./result.js";
