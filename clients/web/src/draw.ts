// The view for drawing: pad, tools, the answer while the pen moves, and why.

import type { Character, Model } from "digitserve";

import { Asker } from "./ask.js";
import { button, find } from "./dom.js";
import { drawWithKeys } from "./keyboard.js";
import { onLanguage, say } from "./language.js";
import { Pad } from "./pad.js";
import { type Answer, Panel, spoken } from "./panel.js";
import { showFrame, showMap } from "./reason.js";
import { recognize } from "./server.js";
import { Tools } from "./tools.js";

const SETTLED_AFTER_MS = 700;

type Picture = () => ImageData;

/** What a drawing was answered, once the pen has rested. */
export type Settled = (picture: ImageData, answer: Answer) => void;

export class DrawView {
  readonly #pad = new Pad(find("pad", HTMLCanvasElement));
  readonly #tools = new Tools(this.#pad, () => this.#toggleWhy());
  readonly #panel = new Panel(find("draw-answer", HTMLElement), "waiting");
  readonly #map = find("map", HTMLCanvasElement);
  readonly #asker: Asker<Picture, Answer>;
  readonly #settled: Settled;
  readonly #announce: (text: string) => void;
  #model: Model | undefined;
  #sent: ImageData | undefined;
  #answer: Answer | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;

  /** `settled` is told of each drawing's answer, `announce` says a text aloud, `cleared` is told of an empty pad. */
  constructor(settled: Settled, cleared: () => void, announce: (text: string) => void) {
    this.#settled = settled;
    this.#announce = announce;
    this.#asker = new Asker({
      send: (take, signal) => this.#send(take, signal),
      hear: (answer) => this.#hear(answer),
      fail: (error) => this.#fail(error),
    });
    this.#pad.changed = () => {
      this.#change();
      if (!this.#pad.drawing.strokes.length) cleared();
    };
    drawWithKeys(this.#pad, find("cursor", HTMLElement), (news) => announce(say(news)));
    button("why").addEventListener("click", () => this.#toggleWhy());
    new ResizeObserver(() => this.#showReason()).observe(this.#map);
    onLanguage(() => this.#translate());
  }

  setModel(model: Model): void {
    this.#model = model;
    this.#panel.setModel(model);
    this.#change();
  }

  /** After a change of colours. */
  redraw(): void {
    this.#pad.redraw();
  }

  #change(): void {
    clearTimeout(this.#settling);
    this.#tools.show();
    const isEmpty = this.#pad.drawing.strokes.length === 0;
    find("invitation", HTMLElement).hidden = !isEmpty;
    if (isEmpty) this.#clear();
    else if (this.#model) this.#asker.ask(() => this.#pad.picture());
  }

  #clear(): void {
    this.#asker.forget();
    this.#show(undefined);
  }

  #send(take: () => Picture, signal: AbortSignal): Promise<Answer> {
    const picture = () => (this.#sent = take()());
    return recognize(picture, this.#model!, { layout: "single", ink: "dark", explain: true, signal });
  }

  #hear(answer: Answer): void {
    this.#show(answer);
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#settle(), SETTLED_AFTER_MS);
  }

  #fail(error: unknown): void {
    this.#answer = undefined;
    this.#panel.show({ failure: error instanceof Error ? error.message : String(error) });
    this.#showReason();
  }

  #settle(): void {
    const character = this.#character;
    if (this.#pad.isDrawing || !this.#answer || !character) return;
    this.#announce(spoken(character));
    if (character.label) this.#settled(this.#sent!, this.#answer);
  }

  get #character(): Character | undefined {
    return this.#answer?.recognition.characters[0];
  }

  #show(answer: Answer | undefined): void {
    this.#answer = answer;
    this.#panel.show(answer);
    this.#showReason();
  }

  #toggleWhy(): void {
    const isOn = button("why").ariaPressed !== "true";
    button("why").ariaPressed = String(isOn);
    find("reason", HTMLElement).hidden = !isOn;
    this.#showReason();
  }

  #showReason(): void {
    const isOn = button("why").ariaPressed === "true";
    this.#map.hidden = !isOn;
    if (!isOn) return;
    const character = this.#character;
    showMap(this.#map, character ?? {});
    showFrame(find("frame", HTMLCanvasElement), character?.evidence);
    const label = character?.label || "…";
    find("for", HTMLElement).textContent = say("speaksFor", { label });
    find("against", HTMLElement).textContent = say("speaksAgainst", { label });
  }

  #translate(): void {
    this.#panel.translate();
    this.#showReason();
  }
}
