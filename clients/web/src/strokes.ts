// A drawing: strokes in the pad's own units, and the way back and forth through its changes.

/** The pad's side. Everything on it is measured in these units, whatever its size on the screen. */
export const PAD_UNITS = 280;

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Of the stroke's width: 1 where the pen has no pressure. */
  readonly thickness: number;
}

export interface Stroke {
  readonly points: Point[];
  readonly width: number;
  readonly erases: boolean;
}

type Strokes = readonly Stroke[];

/** The strokes so far. Every change can be undone, clearing too. */
export class Drawing {
  #strokes: Strokes = [];
  #past: Strokes[] = [];
  #future: Strokes[] = [];

  get strokes(): Strokes {
    return this.#strokes;
  }

  get canUndo(): boolean {
    return this.#past.length > 0;
  }

  get canRedo(): boolean {
    return this.#future.length > 0;
  }

  /** Adds a stroke, whose points may still come. */
  add(stroke: Stroke): void {
    this.#change([...this.#strokes, stroke]);
  }

  /** Takes the last stroke away as if it had never been: it is neither undone nor redone. */
  withdraw(): void {
    this.#strokes = this.#past.pop() ?? [];
  }

  /** These strokes, each of which can be undone. */
  restore(strokes: Strokes): void {
    this.#past = strokes.map((_, i) => strokes.slice(0, i));
    this.#future = [];
    this.#strokes = [...strokes];
  }

  clear(): void {
    if (this.#strokes.length) this.#change([]);
  }

  /** Whether there was anything to undo. */
  undo(): boolean {
    return this.#step(this.#past, this.#future);
  }

  /** Whether there was anything to redo. */
  redo(): boolean {
    return this.#step(this.#future, this.#past);
  }

  #change(strokes: Strokes): void {
    this.#past.push(this.#strokes);
    this.#future = [];
    this.#strokes = strokes;
  }

  #step(from: Strokes[], to: Strokes[]): boolean {
    const strokes = from.pop();
    if (!strokes) return false;
    to.push(this.#strokes);
    this.#strokes = strokes;
    return true;
  }
}

/** What was kept, or nothing if that makes no sense (any more). */
export function parseStrokes(text: string | null): Strokes {
  try {
    const strokes: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(strokes) && strokes.every(isStroke) ? strokes : [];
  } catch {
    return [];
  }
}

function isStroke(value: unknown): value is Stroke {
  const { points, width, erases } = (value ?? {}) as Partial<Stroke>;
  const isPoint = (point: Partial<Point> | null) => [point?.x, point?.y, point?.thickness].every(Number.isFinite);
  return Array.isArray(points) && points.length > 0 && points.every(isPoint) && Number.isFinite(width) && typeof erases === "boolean";
}
