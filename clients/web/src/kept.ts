// The drawing outlives a reload of the page: its own tab keeps it, and no other.

import type { Pad } from "./pad.js";
import { keepInTab, keptInTab } from "./store.js";
import { parseStrokes } from "./strokes.js";

const KEY = "drawing";

/** Brings back what was drawn before the reload, and keeps what is drawn for the next one. */
export function keepOverReloads(pad: Pad): void {
  const strokes = parseStrokes(keptInTab(KEY));
  if (strokes.length) pad.restore(strokes);
  const keep = () => keepInTab(KEY, JSON.stringify(pad.drawing.strokes));
  addEventListener("pagehide", keep);
  // A phone may end a page that nobody sees without another word.
  document.addEventListener("visibilitychange", () => document.hidden && keep());
}
