// Which model answers: whatever the server lists.

import type { Model } from "digitserve";

import { find } from "./dom.js";
import { remember, remembered } from "./store.js";

export class Models {
  /** Called with the model that answers from now on. */
  chosen: (model: Model) => void = () => {};
  readonly #select = find("model", HTMLSelectElement);
  #models: readonly Model[] = [];

  constructor() {
    this.#select.addEventListener("change", () => {
      remember("model", this.#select.value);
      this.chosen(this.current!);
    });
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
    const wanted = this.#select.value || remembered("model") || "digits";
    this.#models = [...models].sort((a, b) => Number(b.name === "digits") - Number(a.name === "digits"));
    this.#select.replaceChildren(...this.#models.map((model) => new Option(this.#titleOf(model), nameOf(model))));
    const found =
      this.#models.find((model) => nameOf(model) === wanted) ??
      this.#models.find(({ name }) => name === wanted.split(":")[0]) ??
      this.#models[0];
    this.#select.disabled = !found;
    if (!found) return;
    this.#select.value = nameOf(found);
    if (!before || nameOf(before) !== nameOf(found)) this.chosen(found);
  }

  /** The version only where there are several. */
  #titleOf(model: Model): string {
    const isAlone = this.#models.filter(({ name }) => name === model.name).length === 1;
    return isAlone ? model.name : nameOf(model);
  }
}

/** As the server takes it. */
export function nameOf({ name, version }: Model): string {
  return `${name}:${version}`;
}
