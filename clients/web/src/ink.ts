// Strokes on a canvas: curves through the middles between the points, so that no corner shows where the pen was
// sampled.

import { isDot, PAD_UNITS, type Point, type Stroke } from "./strokes.js";

export class Ink {
  colour = "#000";
  readonly #context: CanvasRenderingContext2D;
  readonly #paper: string | undefined;

  /** `paper` is what the eraser leaves; nothing at all if it is undefined. */
  constructor(context: CanvasRenderingContext2D, paper?: string) {
    this.#context = context;
    this.#paper = paper;
  }

  /** Everything anew. */
  redraw(strokes: readonly Stroke[]): void {
    const context = this.#context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    if (this.#paper) {
      context.fillStyle = this.#paper;
      context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    }
    for (const stroke of strokes) this.draw(stroke);
  }

  /** A stroke from its point number `from` on: what was drawn before stays as it is. */
  draw(stroke: Stroke, from = 0): void {
    this.#prepare(stroke);
    const { points, width } = stroke;
    // A line that goes nowhere is none at all: a tap is a dot, and stays one while the pen does not move.
    if (from === 0 && isDot(stroke)) this.#dot(points[0]!, width);
    for (let i = Math.max(1, from); i < points.length; i += 1) {
      this.#curve(points[i - 2] ?? points[i - 1]!, points[i - 1]!, points[i]!, width);
    }
    // The curve ends in the middle; the pen is further on already.
    const last = points.at(-1);
    const before = points.at(-2);
    if (last && before) this.#line(last, middle(before, last), width);
  }

  #prepare({ erases }: Stroke): void {
    const context = this.#context;
    const scale = context.canvas.width / PAD_UNITS;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.lineCap = "round";
    context.lineJoin = "round";
    context.globalCompositeOperation = erases && !this.#paper ? "destination-out" : "source-over";
    context.strokeStyle = context.fillStyle = erases ? (this.#paper ?? "#000") : this.colour;
  }

  #curve(before: Point, corner: Point, after: Point, width: number): void {
    const start = middle(before, corner);
    const end = middle(corner, after);
    if (start.thickness !== end.thickness) return this.#taper(start, corner, end, width);
    this.#stroke(corner.thickness * width, (context) => {
      context.moveTo(start.x, start.y);
      context.quadraticCurveTo(corner.x, corner.y, end.x, end.y);
    });
  }

  /** A canvas has no lines that grow: short ones, each a little thicker, look like one. */
  #taper(start: Point, corner: Point, end: Point, width: number): void {
    const pieces = Math.ceil(Math.abs(end.thickness - start.thickness) * width) + 2;
    let before = start;
    for (let i = 1; i <= pieces; i += 1) {
      const share = i / pieces;
      const point = between(between(start, corner, share), between(corner, end, share), share);
      this.#line(before, point, width);
      before = point;
    }
  }

  #line(start: Point, end: Point, width: number): void {
    this.#stroke(end.thickness * width, (context) => {
      context.moveTo(start.x, start.y);
      context.lineTo(end.x, end.y);
    });
  }

  #dot({ x, y, thickness }: Point, width: number): void {
    this.#context.beginPath();
    this.#context.arc(x, y, (thickness * width) / 2, 0, 2 * Math.PI);
    this.#context.fill();
  }

  #stroke(width: number, path: (context: CanvasRenderingContext2D) => void): void {
    const context = this.#context;
    context.lineWidth = width;
    context.beginPath();
    path(context);
    context.stroke();
  }
}

function middle(a: Point, b: Point): Point {
  return between(a, b, 0.5);
}

function between(a: Point, b: Point, share: number): Point {
  const mix = (from: number, to: number) => from + (to - from) * share;
  return { x: mix(a.x, b.x), y: mix(a.y, b.y), thickness: mix(a.thickness, b.thickness) };
}
