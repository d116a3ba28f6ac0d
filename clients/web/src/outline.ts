// What a stroke covers, as one path: a pixel at its edge is shaded once, however many pieces meet there.

import type { Point, Stroke } from "./strokes.js";

/** How far a straight piece may be from the curve that it stands for, in the pad's units: less than anybody sees. */
const TOLERANCE = 0.02;

/** A part of the pad, in its units. */
export interface Area {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** The part that the points of a stroke cover, from their number `from` on. */
export function areaOf({ points, width }: Stroke, from = 0): Area {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = Math.max(0, from); i < points.length; i += 1) {
    const { x, y, thickness } = points[i]!;
    const radius = (thickness * width) / 2;
    [left, right] = [Math.min(left, x - radius), Math.max(right, x + radius)];
    [top, bottom] = [Math.min(top, y - radius), Math.max(bottom, y + radius)];
  }
  return { left, top, right, bottom };
}

/**
 * Adds to a path what a stroke covers of an area: curves through the middles between its points, so that no corner shows
 * where the pen was sampled. All pieces turn the same way round, so that filling the path fills their union. Each point has
 * its own piece of the stroke: those from number `from` up to `to` are taken.
 */
export function outline(path: CanvasPath, { points, width }: Stroke, area: Area, from = 0, to = points.length): void {
  for (let i = from; i < to; i += 1) {
    const corner = points[i]!;
    const before = points[i - 1] ?? corner;
    const after = points[i + 1] ?? corner;
    if (touch(area, width, before, corner, after)) addCurve(path, middle(before, corner), corner, middle(corner, after), width);
  }
}

function touch({ left, top, right, bottom }: Area, width: number, a: Point, b: Point, c: Point): boolean {
  const radius = (Math.max(a.thickness, b.thickness, c.thickness) * width) / 2;
  const isBeside = Math.max(a.x, b.x, c.x) + radius < left || Math.min(a.x, b.x, c.x) - radius > right;
  return !isBeside && Math.max(a.y, b.y, c.y) + radius >= top && Math.min(a.y, b.y, c.y) - radius <= bottom;
}

function addCurve(path: CanvasPath, start: Point, corner: Point, end: Point, width: number): void {
  const pieces = piecesFor(start, corner, end, width);
  let before = start;
  for (let i = 1; i <= pieces; i += 1) {
    const share = i / pieces;
    const point = between(between(start, corner, share), between(corner, end, share), share);
    addPiece(path, before, point, width);
    before = point;
  }
}

/** A parabola bends by a quarter of this, and by a quarter of that again where it is cut in two. */
function piecesFor(start: Point, corner: Point, end: Point, width: number): number {
  const bend = (of: (point: Point) => number) => Math.abs(of(start) - 2 * of(corner) + of(end));
  const most = Math.max(bend(({ x }) => x), bend(({ y }) => y), bend(({ thickness }) => (thickness * width) / 2));
  return Math.max(1, Math.ceil(Math.sqrt(most / (4 * TOLERANCE))));
}

/** Two discs and what lies between them; of a point, one disc. */
function addPiece(path: CanvasPath, start: Point, end: Point, width: number): void {
  const [first, last] = [(start.thickness * width) / 2, (end.thickness * width) / 2];
  const length = Math.hypot(end.x - start.x, end.y - start.y);
  if (length <= Math.abs(first - last)) return addDisc(path, first > last ? start : end, Math.max(first, last));
  const direction = Math.atan2(end.y - start.y, end.x - start.x);
  const half = Math.acos((first - last) / length); // of the angle under which the larger disc's free side is seen
  path.moveTo(start.x + first * Math.cos(direction + half), start.y + first * Math.sin(direction + half));
  path.arc(start.x, start.y, first, direction + half, direction - half + 2 * Math.PI);
  path.arc(end.x, end.y, last, direction - half, direction + half);
  path.closePath();
}

function addDisc(path: CanvasPath, { x, y }: Point, radius: number): void {
  path.moveTo(x + radius, y);
  path.arc(x, y, radius, 0, 2 * Math.PI);
  path.closePath();
}

function middle(a: Point, b: Point): Point {
  return between(a, b, 0.5);
}

function between(a: Point, b: Point, share: number): Point {
  const mix = (from: number, to: number) => from + (to - from) * share;
  return { x: mix(a.x, b.x), y: mix(a.y, b.y), thickness: mix(a.thickness, b.thickness) };
}
