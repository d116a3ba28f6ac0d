// The view for image files: chosen, dropped or pasted, many at once, with a table of what is in them.

import type { Model, Recognition } from "digitserve";

import { csv, type Cell } from "./csv.js";
import { button, download, find, make } from "./dom.js";
import { detailOf, reasonOf } from "./failure.js";
import { onLanguage, percent, say } from "./language.js";
import { glyphOf, isNone } from "./panel.js";
import { shown } from "./photo.js";
import { recognizeFile } from "./server.js";

const AT_ONCE = 2;
const HEAD = ["file", "answer", "probability", "unsure", "runner_up", "runner_up_probability", "model", "error"];

interface Entry {
  readonly file: File;
  readonly row: HTMLTableRowElement;
  recognition?: Recognition;
  failure?: unknown;
}

export class FilesView {
  readonly #rows = find("rows", HTMLTableSectionElement);
  #entries: Entry[] = [];
  #next = 0;
  #working = 0;
  #model: Model | undefined;
  #stop = new AbortController();

  /** `shown` is called before files are added: they may come from any view. */
  constructor(shown: () => void) {
    const chooser = find("chooser", HTMLInputElement);
    const add = (files: Iterable<File>) => {
      shown();
      this.add(files);
    };
    chooser.addEventListener("change", () => {
      add(chooser.files ?? []);
      chooser.value = ""; // so that the same file can be chosen again
    });
    takeDrops(add);
    button("csv").addEventListener("click", () => this.#download());
    button("empty").addEventListener("click", () => {
      this.#empty();
      chooser.focus(); // the button is not there any more
    });
    onLanguage(() => this.#translate());
  }

  /** What is in the list is read anew. */
  setModel(model: Model): void {
    this.#model = model;
    const files = this.#entries.map(({ file }) => file);
    this.#empty();
    this.add(files);
  }

  add(files: Iterable<File>): void {
    const added = [...files].map(entryOf);
    const isFirst = !this.#entries.length;
    this.#entries.push(...added);
    this.#rows.append(...added.map(({ row }) => row));
    this.#show();
    if (!isFirst) added[0]?.row.scrollIntoView({ block: "nearest" }); // a long list ends out of sight
    while (this.#model && this.#working < AT_ONCE && this.#next < this.#entries.length) void this.#work(this.#model);
  }

  async #work(model: Model): Promise<void> {
    const { signal } = this.#stop;
    this.#working += 1;
    while (this.#next < this.#entries.length && !signal.aborted) {
      await this.#read(this.#entries[this.#next++]!, model, signal);
      if (!signal.aborted) this.#show();
    }
    if (!signal.aborted) this.#working -= 1;
  }

  async #read(entry: Entry, model: Model, signal: AbortSignal): Promise<void> {
    try {
      entry.recognition = (await recognizeFile(entry.file, model, signal)).recognition;
    } catch (error) {
      if (signal.aborted) return;
      entry.failure = error;
    }
    fillRow(entry);
  }

  #show(): void {
    const done = this.#entries.filter(isDone).length;
    find("results", HTMLElement).hidden = !this.#entries.length;
    const failed = this.#entries.filter(({ failure }) => failure !== undefined).length;
    const counted = say(failed ? "progressFailed" : "progress", { done, failed, all: this.#entries.length });
    find("progress", HTMLElement).textContent = counted;
    button("csv").disabled = done < this.#entries.length;
  }

  #translate(): void {
    this.#entries.forEach(fillRow);
    this.#show();
  }

  #empty(): void {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#entries = [];
    this.#next = this.#working = 0;
    this.#rows.replaceChildren();
    this.#show();
  }

  #download(): void {
    const text = csv([HEAD, ...this.#entries.map(cellsOf)]);
    download("answers.csv", new Blob([text], { type: "text/csv" }));
  }
}

/** Files that are dropped anywhere on the page, or pasted. */
function takeDrops(add: (files: Iterable<File>) => void): void {
  const sheet = make("p", "dropping");
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    sheet.textContent = say("drop");
    document.body.append(sheet);
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) sheet.remove(); // it has left the page
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    sheet.remove();
    add(event.dataTransfer!.files);
  });
  document.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData?.files.length) add(clipboardData.files);
  });
}

function entryOf(file: File): Entry {
  const image = make("img");
  image.alt = "";
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  image.addEventListener("error", () => (image.hidden = true)); // its row says why
  void shown(file).then((picture) => (image.src = URL.createObjectURL(picture)));
  const row = make("tr", "", make("td", "", image), make("td", "reading"), make("td", "name"));
  fillName(row, file);
  return { file, row };
}

function isDone({ recognition, failure }: Entry): boolean {
  return recognition !== undefined || failure !== undefined;
}

function fillRow(entry: Entry): void {
  const { row, file, recognition, failure } = entry;
  const character = recognition?.characters[0];
  const reading = character?.label
    ? [make("b", "label", glyphOf(character)), make("span", "share", isNone(character) ? "" : percent(character.probability))]
    : [make("span", "quiet", "–")];
  row.cells[1]!.replaceChildren(...(recognition || failure !== undefined ? reading : []));
  fillName(row, file, ...notesOf(entry));
}

/** The name, and below it what there is to say. */
function fillName({ cells }: HTMLTableRowElement, file: File, ...notes: HTMLElement[]): void {
  const name = make("p", "title", file.name || say("pasted"));
  name.title = file.name; // which may be too long for its place
  cells[2]!.replaceChildren(name, ...notes);
}

function notesOf({ recognition, failure }: Entry): HTMLElement[] {
  const character = recognition?.characters[0];
  if (failure !== undefined) {
    const detail = make("p", "", detailOf(failure));
    detail.lang = "en"; // the server speaks no other language
    return [make("details", "note", make("summary", "", say(reasonOf(failure))), detail)];
  }
  if (character && !character.label) return [make("p", "note", say("noteBlank"))];
  if (!character?.unsure) return [];
  if (isNone(character)) return [make("p", "note", say("noteNone"))];
  return [make("p", "note", say("noteUnsure", { other: character.alternatives[1]?.label ?? "" }))];
}

function cellsOf({ file, recognition, failure }: Entry): Cell[] {
  const character = recognition?.characters[0];
  const other = character?.alternatives[1];
  const model = recognition && `${recognition.model.name}:${recognition.model.version}`;
  const answer = [character?.label, character?.probability, character?.unsure];
  return [file.name, ...answer, other?.label, other?.probability, model, failure === undefined ? undefined : detailOf(failure)];
}
