// One bar for each class of the model, in the model's own order, so that each stays in its place while it moves.

import { make, setText } from "./dom.js";
import { tenths } from "./language.js";

const TWO_COLUMNS_FROM = 16;
const USUAL_ROWS = 10;
const LEAST_SHOWN = 0.0005; // less would read as nothing, and ten nothings hide what there is

interface Bar {
  readonly row: HTMLElement;
  readonly fill: HTMLElement;
  readonly number: HTMLElement;
}

export class Bars {
  readonly list = make("ol", "bars");
  readonly #bars = new Map<string, Bar>();

  /** Until the classes are known, rails hold their places. */
  constructor() {
    this.list.append(...Array.from({ length: USUAL_ROWS }, () => make("li", "", make("span"), make("span", "track"))));
    this.list.ariaHidden = "true";
  }

  /** Other classes: another model. */
  setClasses(names: readonly string[]): void {
    this.#bars.clear();
    this.list.ariaHidden = null;
    this.list.classList.toggle("double", names.length >= TWO_COLUMNS_FROM);
    // Numbered down the columns, not across.
    this.list.style.setProperty("--rows", String(Math.ceil(names.length / (names.length >= TWO_COLUMNS_FROM ? 2 : 1))));
    for (const name of names) {
      const fill = make("span", "fill");
      const number = make("span", "number");
      const row = make("li", "", make("span", "name", name), make("span", "track", fill), number);
      this.#bars.set(name, { row, fill, number });
    }
    this.list.replaceChildren(...[...this.#bars.values()].map(({ row }) => row));
    this.show(new Map());
  }

  show(probabilities: ReadonlyMap<string, number>, best = ""): void {
    for (const [name, { row, fill, number }] of this.#bars) {
      const share = probabilities.get(name) ?? 0;
      const transform = `scaleX(${share.toFixed(4)})`;
      if (fill.style.transform !== transform) fill.style.transform = transform;
      setText(number, share >= LEAST_SHOWN ? tenths(share) : "");
      row.classList.toggle("best", name === best);
    }
  }
}
