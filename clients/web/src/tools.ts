// The buttons below the pad, and the keys that do the same.

import { button, find } from "./dom.js";
import type { Pad } from "./pad.js";

const WIDTH_STEP = 4;

/** `why` is called on the key for it, `taken` when pen or eraser is. */
export class Tools {
  readonly #pad: Pad;
  readonly #width = find("width", HTMLInputElement);
  readonly #why: () => void;
  readonly #taken: () => void;

  constructor(pad: Pad, why: () => void, taken: () => void) {
    this.#pad = pad;
    this.#why = why;
    this.#taken = taken;
    this.#width.addEventListener("input", () => (pad.width = this.#width.valueAsNumber));
    button("pen").addEventListener("click", () => this.#take(false));
    button("eraser").addEventListener("click", () => this.#take(true));
    button("undo").addEventListener("click", () => pad.undo());
    button("redo").addEventListener("click", () => pad.redo());
    button("clear").addEventListener("click", () => this.#clear());
    pad.canvas.addEventListener("keydown", (event) => this.#onPad(event));
    document.addEventListener("keydown", (event) => this.#anywhere(event));
  }

  /** After every change of the drawing. */
  show(): void {
    const { drawing } = this.#pad;
    button("undo").disabled = !drawing.canUndo;
    button("redo").disabled = !drawing.canRedo;
    button("clear").disabled = !drawing.strokes.length;
    // On clean paper the next thing is to draw. Where all was erased, a hand may still go on erasing.
    if (!drawing.strokes.length) this.#take(false);
    this.#showEraser();
  }

  #showEraser(): void {
    button("eraser").disabled = this.#pad.isBlank && !this.#pad.erases;
  }

  #take(eraser: boolean): void {
    if (eraser === this.#pad.erases || (eraser && this.#pad.isBlank)) return;
    this.#pad.erases = eraser;
    this.#taken();
    this.#showEraser();
    button("pen").ariaPressed = String(!eraser);
    button("eraser").ariaPressed = String(eraser);
  }

  #clear(): void {
    this.#pad.clear();
    // The button has gone grey and would take the focus with it.
    this.#pad.canvas.focus({ preventScroll: true });
  }

  #widen(step: number): void {
    this.#width.valueAsNumber += step;
    this.#pad.width = this.#width.valueAsNumber;
  }

  /** Single letters mean something only while the pad has the focus: elsewhere they may be somebody's own shortcuts. */
  #onPad(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions: Record<string, () => void> = {
      p: () => this.#take(false),
      e: () => this.#take(true),
      z: () => this.#pad.undo(),
      y: () => this.#pad.redo(),
      w: this.#why,
      "[": () => this.#widen(-WIDTH_STEP),
      "]": () => this.#widen(WIDTH_STEP),
      Delete: () => this.#clear(),
      Backspace: () => this.#clear(),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  #anywhere(event: KeyboardEvent): void {
    if (!(event.ctrlKey || event.metaKey) || this.#pad.canvas.offsetParent === null) return;
    const key = event.key.toLowerCase();
    const isRedo = key === "y" || (key === "z" && event.shiftKey);
    if (key !== "z" && !isRedo) return;
    event.preventDefault();
    if (isRedo) this.#pad.redo();
    else this.#pad.undo();
  }
}
