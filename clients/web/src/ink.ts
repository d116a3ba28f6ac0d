// Strokes on a canvas. The one under way is laid anew over those that are done, where it has changed and nowhere else.

import { type Area, areaOf, outline } from "./outline.js";
import { PAD_UNITS, type Stroke } from "./strokes.js";

const WHOLE: Area = { left: 0, top: 0, right: PAD_UNITS, bottom: PAD_UNITS };
const EDGE_PIXELS = 1; // the shade beside a line
const MOST_POINTS = 128; // of a stroke under way: more would take longer with every move of a long scribble

export class Ink {
  colour = "#000";
  readonly #context: CanvasRenderingContext2D;
  readonly #done: CanvasRenderingContext2D;
  readonly #paper: string | undefined;
  /** So many points of the stroke under way are among what is done. */
  #settled = 0;

  /** `done` belongs to a canvas of its own. `paper` is what the eraser leaves; nothing at all if it is undefined. */
  constructor(context: CanvasRenderingContext2D, done: CanvasRenderingContext2D, paper?: string) {
    this.#context = context;
    this.#done = done;
    this.#paper = paper;
  }

  /** Everything anew; `current` is the one of the strokes that may still grow. */
  redraw(strokes: readonly Stroke[], current?: Stroke): void {
    const { width, height } = this.#context.canvas;
    this.#settled = 0;
    Object.assign(this.#done.canvas, { width, height }); // clears it, too
    if (this.#paper) {
      this.#done.fillStyle = this.#paper;
      this.#done.fillRect(0, 0, width, height);
    }
    for (const stroke of strokes) if (stroke !== current) this.#fill(this.#done, stroke, WHOLE);
    this.#restore(0, 0, width, height);
    if (current) this.extend(current);
  }

  /** The stroke under way, which has grown from its point number `from` on. */
  extend(stroke: Stroke, from = 0): void {
    if (from === 0) this.#settled = 0;
    if (from - this.#settled > MOST_POINTS) this.#settle(stroke, from - 2);
    const scale = this.#scale;
    // The curve to a new point begins before the last two.
    const { left, top, right, bottom } = areaOf(stroke, from - 2);
    const [x, y] = [Math.floor(left * scale) - EDGE_PIXELS, Math.floor(top * scale) - EDGE_PIXELS];
    const [endX, endY] = [Math.ceil(right * scale) + EDGE_PIXELS, Math.ceil(bottom * scale) + EDGE_PIXELS];
    const context = this.#context;
    context.save();
    context.beginPath();
    context.rect(x, y, endX - x, endY - y);
    context.clip();
    this.#restore(x, y, endX - x, endY - y);
    this.#fill(context, stroke, { left: x / scale, top: y / scale, right: endX / scale, bottom: endY / scale });
    context.restore();
  }

  /** What no further point can change any more. */
  #settle(stroke: Stroke, to: number): void {
    this.#fill(this.#done, stroke, WHOLE, to);
    this.#settled = to;
  }

  get #scale(): number {
    return this.#context.canvas.width / PAD_UNITS;
  }

  /** What is done, in these pixels, and nothing else. */
  #restore(x: number, y: number, width: number, height: number): void {
    this.#context.clearRect(x, y, width, height);
    this.#context.drawImage(this.#done.canvas, x, y, width, height, x, y, width, height);
  }

  #fill(context: CanvasRenderingContext2D, stroke: Stroke, area: Area, to?: number): void {
    const { erases } = stroke;
    context.save();
    context.scale(this.#scale, this.#scale);
    context.globalCompositeOperation = erases && !this.#paper ? "destination-out" : "source-over";
    context.fillStyle = erases ? (this.#paper ?? "#000") : this.colour;
    context.beginPath();
    outline(context, stroke, area, this.#settled, to);
    context.fill();
    context.restore();
  }
}
