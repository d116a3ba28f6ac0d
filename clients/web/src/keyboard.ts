// Drawing with keys alone: arrows move a cursor over the pad, the space bar puts the pen down and lifts it.

import type { Pad } from "./pad.js";
import { PAD_UNITS } from "./strokes.js";

const STEP_UNITS = 8;
const FINE_STEP_UNITS = 2;
const DIRECTIONS: Record<string, readonly [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** What the pen has come to do: said aloud, since the cursor can't be heard. */
export type PenNews = "penDown" | "penUp" | "erased";

/** Listens on the pad's canvas while that has the focus. `cursor` shows where the pen is. */
export function drawWithKeys(pad: Pad, cursor: HTMLElement, say: (news: PenNews) => void): void {
  const held = new Set<string>();
  let x = PAD_UNITS / 2;
  let y = PAD_UNITS / 2;

  const show = () => {
    cursor.style.left = `${(100 * x) / PAD_UNITS}%`;
    cursor.style.top = `${(100 * y) / PAD_UNITS}%`;
    cursor.classList.toggle("down", pad.isDrawing);
  };
  const move = (step: number) => {
    // Two arrows at once go slantwise.
    for (const key of held) {
      x = clamp(x + step * DIRECTIONS[key]![0]);
      y = clamp(y + step * DIRECTIONS[key]![1]);
    }
    pad.move([{ x, y, thickness: 1 }]);
    show();
  };
  const togglePen = () => {
    if (pad.isDrawing) pad.end();
    else pad.begin({ x, y, thickness: 1 });
    if (pad.erases && pad.isBlank) say("erased");
    else say(pad.isDrawing ? "penDown" : "penUp");
    show();
  };

  pad.canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in DIRECTIONS) {
      held.add(event.key);
      move(event.shiftKey ? FINE_STEP_UNITS : STEP_UNITS);
    } else if (event.key === " ") {
      if (!event.repeat) togglePen();
    } else return;
    event.preventDefault();
  });
  pad.canvas.addEventListener("keyup", (event) => held.delete(event.key));
  pad.canvas.addEventListener("blur", () => {
    held.clear();
    pad.end();
    show();
  });
  show();
}

function clamp(place: number): number {
  return Math.min(PAD_UNITS, Math.max(0, place));
}
