// Many packed images, in as many calls as they need.

import { joinBytes } from "./png.js";

// More images than this travel in several calls. 4,096 of 28 x 28 are 3 MiB, under gRPC's default limit of 4 MiB that a
// proxy may have kept.
export const IMAGES_PER_CALL = 4_096;

// While one is being computed, the other is on its way.
const CALLS_IN_FLIGHT = 2;

const FRAME_BYTES = 28 * 28;

/** Images of one size, one after another. */
export interface PackedImages {
  readonly pixels: Uint8Array;
  readonly imageBytes: number;
}

/** One call of several that share a batch. */
export interface Part {
  readonly images: Uint8Array;
  readonly count: number;
}

/**
 * Packs images of 8-bit grey pixels: one array with all of them, 28 x 28 each, or one array for each, all of one size.
 *
 * Throws a TypeError if they are no bytes, and a RangeError if their number or sizes can't be meant.
 */
export function pack(images: Uint8Array | readonly Uint8Array[]): PackedImages {
  if (images instanceof Uint8Array) {
    if (!images.length || images.length % FRAME_BYTES) {
      throw new RangeError(
        `images holds ${images.length} bytes, which is not one or more images of ${FRAME_BYTES} bytes`,
      );
    }
    return { pixels: images, imageBytes: FRAME_BYTES };
  }
  if (!Array.isArray(images) || !images.every((image) => image instanceof Uint8Array)) {
    throw new TypeError("images is neither a Uint8Array nor an array of them");
  }
  const imageBytes = images[0]?.length ?? 0;
  if (!imageBytes) throw new RangeError("images holds no image with pixels");
  const other = images.findIndex((image) => image.length !== imageBytes);
  if (other >= 0)
    throw new RangeError(`images[${other}] holds ${images[other]?.length} bytes, and the first ${imageBytes}`);
  return { pixels: joinBytes(images), imageBytes };
}

/** The calls for these images, in order. */
export function partsOf({ pixels, imageBytes }: PackedImages): Part[] {
  const partBytes = IMAGES_PER_CALL * imageBytes;
  return Array.from({ length: Math.ceil(pixels.length / partBytes) }, (_, index) => {
    const images = pixels.subarray(index * partBytes, (index + 1) * partBytes);
    return { images, count: images.length / imageBytes };
  });
}

/**
 * Makes a call for each part, two at a time, and returns the answers in order. The first that fails ends the others.
 *
 * @param call takes a signal that aborts it.
 * @param signal aborts them all.
 */
export async function callForEach<Answer>(
  parts: readonly Part[],
  call: (part: Part, signal: AbortSignal) => Promise<Answer>,
  signal: AbortSignal | undefined,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  const ending = new AbortController();
  const end = () => ending.abort(signal?.reason);
  signal?.addEventListener("abort", end, { once: true });
  const waiting = parts.entries();
  const lane = async () => {
    for (const [index, part] of waiting) answers[index] = await call(part, ending.signal);
  };
  try {
    signal?.throwIfAborted();
    await Promise.all(Array.from({ length: CALLS_IN_FLIGHT }, lane));
    return answers;
  } finally {
    signal?.removeEventListener("abort", end);
    ending.abort();
  }
}
