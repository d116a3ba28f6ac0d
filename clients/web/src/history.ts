// The view of what was read before, where wrong answers are put right and taken home for training.

import { button, download, find, make } from "./dom.js";
import { onLanguage, percent, say } from "./language.js";
import { contextOf } from "./pad.js";
import type { Answer } from "./panel.js";
import {
  corrections,
  folderFor,
  parseRecords,
  type PictureRecord,
  type Records,
  withRecord,
  withRight,
} from "./records.js";
import { remember, remembered } from "./store.js";
import { zip } from "./zip.js";

export class HistoryView {
  readonly #cards = find("cards", HTMLUListElement);
  readonly #classNamesOf: (model: string) => readonly string[];
  #records: Records = parseRecords(remembered("history"));
  #current: number | undefined;

  /** `classNamesOf` gives the labels that a model knows; none while it is unknown. */
  constructor(classNamesOf: (model: string) => readonly string[]) {
    this.#classNamesOf = classNamesOf;
    button("zip").addEventListener("click", () => this.#download());
    button("forget").addEventListener("click", () => this.#change([]));
    onLanguage(() => this.show());
  }

  /** A drawing's answer: the drawing of before, if that only went on. */
  keep(picture: ImageData, answer: Answer): void {
    this.#current ??= Date.now();
    this.#add(this.#current, picture, answer);
  }

  /** A picture that stands for itself. */
  keepStill(picture: ImageData, answer: Answer): void {
    this.#add(Date.now(), picture, answer);
  }

  /** The next drawing is another one. */
  endDrawing(): void {
    this.#current = undefined;
  }

  show(): void {
    const corrected = this.#records.filter(({ right }) => right !== undefined);
    this.#cards.replaceChildren(...this.#records.map((record) => this.#card(record)));
    find("nothing", HTMLElement).hidden = this.#records.length > 0;
    find("corrected", HTMLElement).textContent = corrected.length ? say("corrected", { count: corrected.length }) : "";
    const folder = folderFor(corrected[0]?.model ?? "digits");
    find("history-hint", HTMLElement).textContent = say("historyHint", { folder });
    button("zip").disabled = !corrected.length;
    button("forget").disabled = !this.#records.length;
  }

  #add(id: number, picture: ImageData, { recognition }: Answer): void {
    const { label, probability, unsure } = recognition.characters[0]!;
    const record = { id, png: pngOf(picture), label, probability, unsure, model: recognition.model.name };
    this.#change(withRecord(this.#records, record));
  }

  #change(records: Records): void {
    this.#records = records;
    // Where the browser has no room for all, the oldest go.
    while (!remember("history", JSON.stringify(this.#records)) && this.#records.length > 1) {
      this.#records = this.#records.slice(0, -1);
    }
    this.show();
  }

  #card(record: PictureRecord): HTMLElement {
    const { png, label, probability, unsure, model } = record;
    const image = make("img");
    image.src = png;
    const text = say(unsure ? "cardUnsure" : "card", { label, percent: percent(probability), model });
    image.alt = text;
    const right = make("label", "", make("span", "quiet", say("rightLabel")), this.#chooser(record));
    return make("li", record.right ? "card corrected" : "card", image, make("p", "", text), right);
  }

  #chooser({ id, model, label, right = "" }: PictureRecord): HTMLSelectElement {
    const select = make("select");
    const names = new Set([...this.#classNamesOf(model), label, ...(right ? [right] : [])]);
    select.append(new Option("–", ""), ...[...names].map((name) => new Option(name, name)));
    select.value = right;
    select.addEventListener("change", () => {
      this.#change(withRight(this.#records, id, select.value));
      this.#focus(id);
    });
    select.dataset.id = String(id);
    return select;
  }

  /** The cards are made anew; the focus stays where it was. */
  #focus(id: number): void {
    this.#cards.querySelector<HTMLSelectElement>(`select[data-id="${id}"]`)?.focus();
  }

  #download(): void {
    for (const [model, entries] of corrections(this.#records)) {
      download(`${folderFor(model)}.zip`, new Blob([zip(entries)], { type: "application/zip" }));
    }
  }
}

function pngOf(picture: ImageData): string {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  contextOf(canvas).putImageData(picture, 0, 0);
  return canvas.toDataURL("image/png");
}
