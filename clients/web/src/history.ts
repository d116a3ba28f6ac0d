// The view of what was read before, where wrong answers are put right and taken home for training.

import type { Model } from "digitserve";

import { Commands } from "./commands.js";
import { button, download, find, make } from "./dom.js";
import { onLanguage, percent, say } from "./language.js";
import { titleOf } from "./models.js";
import { contextOf } from "./pad.js";
import type { Answer } from "./panel.js";
import {
  corrections,
  folderFor,
  type PictureRecord,
  type Records,
  withBack,
  without,
  withReading,
  withRight,
} from "./records.js";
import { Shelf } from "./shelf.js";
import { keepInTab, keptInTab } from "./store.js";
import { Undo } from "./undo.js";
import { zip } from "./zip.js";

export class HistoryView {
  readonly #view = find("history", HTMLElement);
  readonly #cards = find("cards", HTMLUListElement);
  readonly #modelOf: (name: string) => Model | undefined;
  readonly #shelf = new Shelf();
  readonly #undo = new Undo();
  readonly #commands: Commands;
  /** Pictures that the reader took away: a drawing that still stands on the pad does not come back by itself. */
  readonly #unwanted = new Set(parseTexts(keptInTab("unwanted")));
  #current = Number(keptInTab("current")) || undefined;

  /** `modelOf` gives a model by its name; none while it is unknown. */
  constructor(modelOf: (name: string) => Model | undefined) {
    this.#modelOf = modelOf;
    this.#commands = new Commands(modelOf);
    find("cards", HTMLElement).before(this.#undo.element);
    this.#view.append(this.#commands.element);
    button("zip").addEventListener("click", () => this.#download());
    button("forget").addEventListener("click", () => this.#remove(this.#shelf.records));
    this.#shelf.changed = () => this.show();
    onLanguage(() => this.show());
  }

  /** A drawing's answer: the drawing of before, if that only went on. */
  keep(picture: ImageData, answer: Answer): void {
    this.#setCurrent(this.#add(picture, answer, this.#current));
  }

  /** A picture that stands for itself. */
  keepStill(picture: ImageData, answer: Answer): void {
    this.#add(picture, answer);
  }

  /** The next drawing is another one. */
  endDrawing(): void {
    this.#setCurrent(undefined);
  }

  #setCurrent(id: number | undefined): void {
    if (id === this.#current) return;
    this.#current = id;
    keepInTab("current", String(id ?? ""));
  }

  /** Brings the view up to date; one that nobody sees waits. */
  show(): void {
    if (this.#view.hidden) return;
    const { records } = this.#shelf;
    const corrected = records.filter(({ right }) => right !== undefined);
    const focused = focusOf(this.#cards);
    this.#cards.replaceChildren(...records.map((record) => this.#card(record)));
    if (focused) this.#cards.querySelector<HTMLElement>(focused)?.focus();
    find("nothing", HTMLElement).hidden = records.length > 0;
    find("corrected", HTMLElement).textContent = corrected.length ? say("corrected", { count: corrected.length }) : "";
    find("history-hint", HTMLElement).textContent = say(this.#shelf.isStored ? "historyHint" : "historyUnstored");
    this.#commands.show([...new Set(corrected.map(({ model }) => model))]);
    this.#undo.translate();
    button("zip").disabled = !corrected.length;
    button("forget").disabled = !records.length;
  }

  #add(picture: ImageData, { recognition }: Answer, current?: number): number | undefined {
    const { label, probability, unsure } = recognition.characters[0]!;
    const png = pngOf(picture);
    if (this.#unwanted.has(png)) return current;
    let id: number | undefined;
    this.#shelf.change((records) => {
      const added = withReading(records, { png, label, probability, unsure, model: recognition.model.name }, current);
      id = added.id;
      return added.records;
    });
    return id;
  }

  /** Takes records away, and offers to bring them back. */
  #remove(removed: Records): void {
    const pictures = removed.map(({ png }) => png);
    const ids = removed.map(({ id }) => id);
    this.#want(pictures, false);
    this.#shelf.change((records) => without(records, ids));
    this.#undo.offer(removed.length, () => {
      this.#want(pictures, true);
      this.#shelf.change((records) => withBack(records, removed));
    });
  }

  #want(pictures: readonly string[], isWanted: boolean): void {
    for (const png of pictures) this.#unwanted[isWanted ? "delete" : "add"](png);
    keepInTab("unwanted", JSON.stringify([...this.#unwanted]));
  }

  #card(record: PictureRecord): HTMLElement {
    const { id, png, label, probability, unsure, model } = record;
    const image = make("img");
    image.src = png;
    const text = say(unsure ? "cardUnsure" : "card", { label, percent: percent(probability), model: titleOf(model) });
    image.alt = text;
    const remove = make("button", "plain remove", "×");
    remove.type = "button";
    remove.title = say("remove");
    remove.ariaLabel = `${say("remove")}: ${text}`;
    remove.dataset.id = String(id);
    remove.addEventListener("click", () => this.#remove([record]));
    const right = make("label", "", make("span", "quiet", say("rightLabel")), this.#chooser(record));
    return make("li", record.right ? "card corrected" : "card", image, readingOf(record), right, remove);
  }

  #chooser({ id, model, label, right = "" }: PictureRecord): HTMLSelectElement {
    const select = make("select");
    const names = new Set([...(this.#modelOf(model)?.classNames ?? []), label, ...(right ? [right] : [])]);
    select.append(new Option("–", ""), ...[...names].map((name) => new Option(name, name)));
    select.value = right;
    select.addEventListener("change", () => this.#shelf.change((records) => withRight(records, id, select.value)));
    select.dataset.id = String(id);
    return select;
  }

  #download(): void {
    for (const [model, entries] of corrections(this.#shelf.records)) {
      download(`${folderFor(model)}.zip`, new Blob([zip(entries)], { type: "application/zip" }));
    }
    this.#commands.element.scrollIntoView({ block: "nearest" }); // what to do with it
  }
}

/** What was read, how surely, and by whom: in that order of size. The picture's own text says the same aloud. */
function readingOf({ label, probability, unsure, model }: PictureRecord): HTMLElement {
  const share = make("span", "share", percent(probability));
  const first = make("p", "", make("b", "label", label), share, ...(unsure ? [make("span", "share", say("notSure"))] : []));
  const reading = make("div", "reading", first, make("p", "quiet", titleOf(model)));
  reading.ariaHidden = "true";
  return reading;
}

/** Where the focus is in the list, as a selector: the cards are made anew, and it stays there. */
function focusOf(list: HTMLElement): string | undefined {
  const focused = document.activeElement;
  if (!(focused instanceof HTMLElement) || !list.contains(focused)) return undefined;
  return `${focused.tagName}[data-id="${focused.dataset.id}"]`;
}

function parseTexts(text: string | null): string[] {
  try {
    const texts: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(texts) ? texts.filter((each) => typeof each === "string") : [];
  } catch {
    return [];
  }
}

function pngOf(picture: ImageData): string {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  contextOf(canvas).putImageData(picture, 0, 0);
  return canvas.toDataURL("image/png");
}
