// The drawing pad: pen, touch and mouse on a canvas, and a small copy of the drawing for the server.

import { Ink } from "./ink.js";
import { hasInk } from "./sketch.js";
import { Drawing, PAD_UNITS, type Point, type Stroke } from "./strokes.js";

/**
 * The side of the picture that is read and kept, in pixels. The network sees 28: what is drawn over a quarter of the pad
 * still has more than that.
 */
export const PICTURE_SIDE = 128;

// Where the browser tells of moves at once, the question is on its way before the next frame begins. Elsewhere they come
// with the frames.
const MOVES = "onpointerrawupdate" in globalThis ? "pointerrawupdate" : "pointermove";
const PEN_ERASER_BUTTON = 32;
const ERASER_FACTOR = 2;
const READ = { willReadFrequently: true };

/** Draws what pointers and keys say, and tells of every change. */
export class Pad {
  readonly canvas: HTMLCanvasElement;
  readonly drawing = new Drawing();
  width = 20;
  erases = false;
  /** Called after every change of the drawing. */
  changed = () => {};
  readonly #screen: Ink;
  readonly #small: CanvasRenderingContext2D;
  readonly #picture: Ink;
  #stroke: Stroke | undefined;
  #pointer: PointerEvent | undefined;
  #isBlank = true;

  constructor(canvas: HTMLCanvasElement) {
    this.canvas = canvas;
    this.#screen = new Ink(contextOf(canvas), newContext());
    this.#small = newContext(READ);
    this.#small.canvas.width = this.#small.canvas.height = PICTURE_SIDE;
    this.#picture = new Ink(this.#small, newContext(READ), "#fff");
    this.#picture.redraw([]);
    this.#listen();
    new ResizeObserver(() => this.redraw()).observe(canvas);
  }

  get isDrawing(): boolean {
    return this.#stroke !== undefined;
  }

  /** Whether nothing is left to see: nothing was drawn, or all of it was erased. */
  get isBlank(): boolean {
    return this.#isBlank;
  }

  /** What is to be recognized: black on white. */
  picture(): ImageData {
    return this.#small.getImageData(0, 0, PICTURE_SIDE, PICTURE_SIDE);
  }

  /** Everything anew, in the size and the colour that the canvas has now. */
  redraw(): void {
    const side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    if (side && side !== this.canvas.width) this.canvas.width = this.canvas.height = side;
    this.#screen.colour = getComputedStyle(this.canvas).color;
    for (const ink of [this.#screen, this.#picture]) ink.redraw(this.drawing.strokes, this.#stroke);
  }

  /** Puts the pen down, or the eraser if there is anything to erase. */
  begin(point: Point, erases = this.erases): void {
    if (erases && this.#isBlank) return;
    this.#stroke = { points: [point], width: this.width * (erases ? ERASER_FACTOR : 1), erases };
    this.drawing.add(this.#stroke);
    this.#show(0);
  }

  move(points: readonly Point[]): void {
    if (!this.#stroke || !points.length) return;
    const from = this.#stroke.points.length;
    this.#stroke.points.push(...points);
    this.#show(from);
  }

  end(): void {
    const wasDrawing = this.isDrawing;
    this.#lift();
    if (wasDrawing) this.#refresh();
  }

  undo(): void {
    this.#lift();
    if (this.drawing.undo()) this.#refresh();
  }

  redo(): void {
    this.#lift();
    if (this.drawing.redo()) this.#refresh();
  }

  clear(): void {
    this.#lift();
    this.drawing.clear();
    this.#refresh();
  }

  /** What was drawn before the page was loaded anew. */
  restore(strokes: readonly Stroke[]): void {
    this.#lift();
    this.drawing.restore(strokes);
    this.#refresh();
  }

  #lift(): void {
    this.#stroke = undefined;
    this.#pointer = undefined;
  }

  #refresh(): void {
    this.redraw();
    this.#change();
  }

  #show(from: number): void {
    for (const ink of [this.#screen, this.#picture]) ink.extend(this.#stroke!, from);
    this.#change();
  }

  #change(): void {
    const last = this.drawing.strokes.at(-1);
    this.#isBlank = !last || (last.erases && !hasInk(this.picture()));
    this.changed();
  }

  #listen(): void {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener(MOVES, (event) => {
      const move = event as PointerEvent;
      if (this.#isDrawnBy(move)) this.move(this.#pointsOf(move));
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"] as const) {
      canvas.addEventListener(kind, (event) => this.#isDrawnBy(event) && this.end());
    }
  }

  #isDrawnBy({ pointerId }: PointerEvent): boolean {
    return pointerId === this.#pointer?.pointerId;
  }

  /** One pointer draws; a second finger does nothing. But a touch before the pen was the palm. */
  #down(event: PointerEvent): void {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    if (this.#pointer?.pointerType === "touch" && event.pointerType === "pen") this.#takeBack();
    if (this.#pointer) return;
    this.end(); // what the keys have begun
    this.#pointer = event;
    this.canvas.setPointerCapture(event.pointerId);
    this.begin(this.#pointOf(event), this.erases || (event.buttons & PEN_ERASER_BUTTON) !== 0);
  }

  /** The stroke so far was none. */
  #takeBack(): void {
    if (this.isDrawing) this.drawing.withdraw();
    this.end();
  }

  /** Everything that the pen did since the last frame, not only where it is now. */
  #pointsOf(event: PointerEvent): Point[] {
    const events = event.getCoalescedEvents?.() ?? [];
    return (events.length ? events : [event]).map((each) => this.#pointOf(each));
  }

  #pointOf({ clientX, clientY, pointerType, pressure }: PointerEvent): Point {
    const { left, top, width } = this.canvas.getBoundingClientRect();
    const scale = PAD_UNITS / width;
    const thickness = pointerType === "pen" && pressure > 0 ? 0.5 + pressure : 1;
    return { x: (clientX - left) * scale, y: (clientY - top) * scale, thickness };
  }
}

/** Of a canvas that nobody sees. */
function newContext(settings?: CanvasRenderingContext2DSettings): CanvasRenderingContext2D {
  return contextOf(document.createElement("canvas"), settings);
}

export function contextOf(canvas: HTMLCanvasElement, settings?: CanvasRenderingContext2DSettings) {
  const context = canvas.getContext("2d", settings);
  if (!context) throw new Error("this browser draws nothing: it has no 2d canvas");
  return context;
}
