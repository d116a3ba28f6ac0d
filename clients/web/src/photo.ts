// Pictures in files, as the browser reads them.

import { make } from "./dom.js";
import { contextOf } from "./pad.js";

/** The server's own default for the most pixels of a picture. */
const MOST_PIXELS = 16_777_216;
/** What a larger one is made to have: more than shows one character, and soon sent. */
const FITTED_PIXELS = 4_000_000;
const JPEG_QUALITY = 0.92;
/** Within so many bytes a file says that it moves. */
const HEAD_BYTES = 65_536;
const MOVES = /^GIF8|^RIFF[^]{4}WEBP[^]*ANIM|^\x89PNG[^]*acTL/;

/** A picture that the server takes: smaller where it has too many pixels, the file itself where it has not. */
export async function fitted(file: Blob): Promise<Blob> {
  const image = await opened(file);
  if (!image) return file;
  const { naturalWidth: width, naturalHeight: height } = image;
  const pixels = width * height;
  if (pixels <= MOST_PIXELS) return file;
  const scale = Math.sqrt(FITTED_PIXELS / pixels);
  try {
    await image.decode();
    return await painted(image, scale * width, scale * height, file.type);
  } catch {
    return file; // the server says what it is
  }
}

/** What to show of a file: of a picture that moves, the first frame, which is the one that is read. */
export async function shown(file: Blob): Promise<Blob> {
  const head = new TextDecoder("latin1").decode(await file.slice(0, HEAD_BYTES).arrayBuffer());
  if (!MOVES.test(head)) return file;
  try {
    const frame = await createImageBitmap(file);
    return await painted(frame, frame.width, frame.height, "image/png");
  } catch {
    return file;
  }
}

/** Undefined if the browser can't read it. */
function opened(file: Blob): Promise<HTMLImageElement | undefined> {
  const image = make("img");
  image.src = URL.createObjectURL(file);
  return new Promise<HTMLImageElement | undefined>((resolve) => {
    image.addEventListener("load", () => resolve(image));
    image.addEventListener("error", () => resolve(undefined));
  }).finally(() => URL.revokeObjectURL(image.src));
}

function painted(image: CanvasImageSource, width: number, height: number, type: string): Promise<Blob> {
  const canvas = make("canvas");
  canvas.width = Math.max(1, Math.round(width));
  canvas.height = Math.max(1, Math.round(height));
  const context = contextOf(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const kept = type === "image/jpeg" ? type : "image/png"; // all others may be transparent
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no room for a picture"))), kept, JPEG_QUALITY);
  });
}
