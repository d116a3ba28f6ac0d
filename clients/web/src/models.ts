// Which model answers: whatever the server lists.

import type { Model } from "digitserve";

import { find } from "./dom.js";
import { onLanguage, say } from "./language.js";
import { remember, remembered } from "./store.js";
import type { WordKey } from "./words.js";

/** The models that have a name in the reader's language. Others have their own. */
const TITLES: ReadonlyMap<string, WordKey> = new Map([
  ["digits", "modelDigits"],
  ["digits-robust", "modelDigitsRobust"],
  ["hanzi", "modelHanzi"],
  ["letters", "modelLetters"],
]);

const USUAL = "digits";

export class Models {
  /** Called with the model that answers from now on. */
  chosen: (model: Model) => void = () => {};
  readonly #select = find("model", HTMLSelectElement);
  #models: readonly Model[] = [];

  constructor() {
    this.#select.addEventListener("change", () => {
      remember("model", this.#select.value);
      this.#show();
      this.chosen(this.current!);
    });
    onLanguage(() => this.#show());
  }

  /** Undefined until the server has been heard. */
  get current(): Model | undefined {
    return this.#models.find((model) => nameOf(model) === this.#select.value);
  }

  /** The one of that name, of whatever version; undefined until the server has been heard. */
  named(name: string): Model | undefined {
    return this.#models.find((model) => model.name === name);
  }

  /** What is served now. The choice stays if it is still there. */
  set(models: readonly Model[]): void {
    const before = this.current;
    const wanted = this.#select.value || remembered("model") || USUAL;
    this.#models = [...models].sort((a, b) => Number(b.name === USUAL) - Number(a.name === USUAL));
    this.#select.replaceChildren(...this.#models.map((model) => new Option("", nameOf(model))));
    const found =
      this.#models.find((model) => nameOf(model) === wanted) ??
      this.#models.find(({ name }) => name === wanted.split(":")[0]) ??
      this.#models[0];
    this.#select.disabled = !found;
    if (!found) return;
    this.#select.value = nameOf(found);
    this.#show();
    if (!before || nameOf(before) !== nameOf(found)) this.chosen(found);
  }

  /** In the reader's language. What the server calls them stays to be found: it is what programs ask for. */
  #show(): void {
    if (!this.#models.length) return this.#showWanted();
    for (const [i, model] of this.#models.entries()) {
      const option = this.#select.options[i]!;
      option.text = this.#titleOf(model);
      option.title = nameOf(model);
    }
    this.#select.title = this.#select.value;
    this.#select.setAttribute("aria-description", this.#select.value);
  }

  /** Before the server has been heard. */
  #showWanted(): void {
    const name = (remembered("model") ?? USUAL).split(":")[0]!;
    this.#select.replaceChildren(new Option(titleOf(name), ""));
  }

  /** The version only where there are several. */
  #titleOf({ name, version }: Model): string {
    const isAlone = this.#models.filter((model) => model.name === name).length === 1;
    return isAlone ? titleOf(name) : say("modelVersion", { model: titleOf(name), version });
  }
}

/** What people call the model of that name; its own name where nobody has given it another. */
export function titleOf(name: string): string {
  const key = TITLES.get(name);
  return key ? say(key) : name;
}

/** As the server takes it. */
export function nameOf({ name, version }: Model): string {
  return `${name}:${version}`;
}
