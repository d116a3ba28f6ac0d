// The way back from what was taken away: it is offered for a while, and then no longer.

import { make, setText } from "./dom.js";
import { say } from "./language.js";

const OFFERED_MS = 20_000;

export class Undo {
  readonly element = make("p", "undo");
  readonly #text = make("span");
  readonly #button = make("button", "plain");
  #count = 0;
  #back = () => {};
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.element.role = "status";
    this.element.hidden = true;
    this.#button.type = "button";
    this.element.append(this.#text, this.#button);
    this.#button.addEventListener("click", () => {
      this.#end();
      this.#back();
    });
    this.#button.addEventListener("blur", () => this.#timer === undefined && this.#end());
  }

  /** So many pictures are gone, and `back` brings them back. */
  offer(count: number, back: () => void): void {
    clearTimeout(this.#timer);
    this.#count = count;
    this.#back = back;
    this.element.hidden = false;
    this.translate();
    // What was pressed is not there any more.
    this.#button.focus();
    this.#timer = setTimeout(() => this.#expire(), OFFERED_MS);
  }

  translate(): void {
    setText(this.#text, say(this.#count === 1 ? "removedOne" : "removed", { count: this.#count }));
    setText(this.#button, say("bringBack"));
  }

  /** Who stands on it is not thrown off. */
  #expire(): void {
    this.#timer = undefined;
    if (document.activeElement !== this.#button) this.#end();
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.element.hidden = true;
  }
}
