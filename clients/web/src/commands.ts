// The commands that train with what was put right: one for each model, ready to be copied.

import type { Model } from "digitserve";

import { make } from "./dom.js";
import { say } from "./language.js";
import { commandFor, datasetOf, UNKNOWN } from "./training.js";

const COPIED_MS = 2_000;

export class Commands {
  readonly element = make("section", "commands");
  readonly #modelOf: (name: string) => Model | undefined;

  constructor(modelOf: (name: string) => Model | undefined) {
    this.#modelOf = modelOf;
    this.element.hidden = true;
  }

  /** Those for the models of these names; nothing for none. */
  show(names: readonly string[]): void {
    this.element.hidden = !names.length;
    const rows = names.flatMap((name) => this.#rowsFor(name));
    this.element.replaceChildren(make("p", "", say(names.length === 1 ? "trainHint" : "trainHints")), ...rows);
  }

  #rowsFor(name: string): HTMLElement[] {
    const model = this.#modelOf(name);
    const row = commandRow(commandFor(name, model));
    if (datasetOf(model)) return [row];
    const about = make("p", "quiet", say("datasetUnknown", { model: name, dataset: UNKNOWN }));
    return model?.description ? [row, about, make("p", "quiet", model.description)] : [row, about];
  }
}

function commandRow(command: string): HTMLElement {
  const code = make("code", "", command);
  const copy = make("button", "plain", say("copy"));
  copy.type = "button";
  copy.ariaLabel = `${say("copy")}: ${command}`;
  copy.addEventListener("click", async () => {
    if (!(await copied(code))) return;
    copy.textContent = say("copied");
    setTimeout(() => (copy.textContent = say("copy")), COPIED_MS);
  });
  return make("div", "command", code, copy);
}

/** Copies the text, and whether it did; where the browser forbids it, the text is chosen, for the keys to copy. */
async function copied(code: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    getSelection()?.selectAllChildren(code);
    // Pages without TLS have no clipboard of their own; this old way needs none.
    return document.execCommand("copy");
  }
}
