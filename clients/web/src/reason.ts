// Seeing why: the frame that the network saw, and its evidence map laid over the drawing where the character is.

import type { Box, Character, Evidence } from "digitserve";

import { contextOf, PICTURE_SIDE } from "./pad.js";

const INK_LEVEL = 24; // of 255: less is the edge of a stroke
const STRONGEST_ALPHA = 190; // the drawing stays visible below the map
const FADE_SHARE = 0.1; // of the paper, at each edge
const FOR = [38, 105, 230] as const;
const AGAINST = [226, 112, 20] as const;

/** The frame in grey, one pixel for each of its own; nothing where there is none. */
export function showFrame(canvas: HTMLCanvasElement, evidence: Evidence | undefined): void {
  const { width, height, pixels } = evidence?.frame ?? { width: 28, height: 28, pixels: [] };
  canvas.width = width; // clears it, too
  canvas.height = height;
  if (!evidence) return;
  const image = new ImageData(width, height);
  pixels.forEach((level, i) => image.data.set([level, level, level, 255], 4 * i));
  contextOf(canvas).putImageData(image, 0, 0);
}

/** The map over a drawing whose picture was PICTURE_SIDE wide; nothing where there is no evidence. */
export function showMap(canvas: HTMLCanvasElement, { box, evidence }: Partial<Character>): void {
  const side = Math.round(canvas.clientWidth * devicePixelRatio) || PICTURE_SIDE;
  canvas.width = canvas.height = side; // clears it, too
  const place = evidence && box && placeOfFrame(evidence, box);
  if (!place) return;
  const context = contextOf(canvas);
  context.scale(side / PICTURE_SIDE, side / PICTURE_SIDE);
  context.imageSmoothingQuality = "high";
  const [cellWidth, cellHeight] = [place.width / evidence.width, place.height / evidence.height];
  const { left, top, width, height } = place;
  context.drawImage(mapImage(evidence), left - cellWidth, top - cellHeight, width + 2 * cellWidth, height + 2 * cellHeight);
  fadeAtEdges(context);
}

/** A map that is larger than the paper ends softly, not as if it had been cut. */
function fadeAtEdges(context: CanvasRenderingContext2D): void {
  context.globalCompositeOperation = "destination-in";
  for (const [x, y] of [[PICTURE_SIDE, 0], [0, PICTURE_SIDE]] as const) {
    const fade = context.createLinearGradient(0, 0, x, y);
    for (const [share, alpha] of [[0, 0], [FADE_SHARE, 1], [1 - FADE_SHARE, 1], [1, 0]] as const) {
      fade.addColorStop(share, `rgb(0 0 0 / ${alpha})`);
    }
    context.fillStyle = fade;
    context.fillRect(0, 0, PICTURE_SIDE, PICTURE_SIDE);
  }
}

/**
 * Where the whole frame lies in the picture: the character fills a box there and another in the frame, and the two are
 * one. Undefined where the frame holds no ink.
 */
export function placeOfFrame({ frame }: Evidence, box: Box): Box | undefined {
  const ink = inkOf(frame.pixels, frame.width);
  if (!ink) return undefined;
  const scale = Math.max(box.width, box.height) / Math.max(ink.width, ink.height);
  return {
    left: box.left + box.width / 2 - (ink.left + ink.width / 2) * scale,
    top: box.top + box.height / 2 - (ink.top + ink.height / 2) * scale,
    width: frame.width * scale,
    height: frame.height * scale,
  };
}

function inkOf(pixels: Uint8Array, width: number): Box | undefined {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  pixels.forEach((level, i) => {
    if (level < INK_LEVEL) return;
    const [x, y] = [i % width, Math.floor(i / width)];
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
  });
  return right < 0 ? undefined : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/**
 * Blue where a place speaks for the answer, orange where against it; the strongest of all places is the fullest. One cell
 * of nothing all around, so that it fades into the paper and shows no edge of its own.
 */
function mapImage({ width, height, values }: Evidence): HTMLCanvasElement {
  const strongest = Math.max(...values.map(Math.abs)) || 1;
  const image = new ImageData(width + 2, height + 2);
  values.forEach((value, i) => {
    const at = (Math.floor(i / width) + 1) * image.width + (i % width) + 1;
    const alpha = (STRONGEST_ALPHA * Math.abs(value)) / strongest;
    image.data.set([...(value > 0 ? FOR : AGAINST), alpha], 4 * at);
  });
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  contextOf(canvas).putImageData(image, 0, 0);
  return canvas;
}
