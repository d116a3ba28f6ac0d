// The view for drawing: pad, tools, the answer while the pen moves, and why.

import type { Character, Model } from "digitserve";

import { Asker } from "./ask.js";
import { button, find, setHidden, setText } from "./dom.js";
import { failureOf } from "./failure.js";
import { keepOverReloads } from "./kept.js";
import { drawWithKeys } from "./keyboard.js";
import { onLanguage, say } from "./language.js";
import type { LinkState } from "./link.js";
import { Pad } from "./pad.js";
import { type Answer, Panel, spoken } from "./panel.js";
import { showFrame, showMap } from "./reason.js";
import { recognize } from "./server.js";
import { type Sketch, sketchOf } from "./sketch.js";
import { Tools } from "./tools.js";
import type { WordKey } from "./words.js";

const SETTLED_AFTER_MS = 700;

/** What is said before the first answer. */
const WAITING: Record<LinkState, WordKey> = {
  well: "waiting",
  busy: "waiting",
  away: "waitingAway",
  offline: "waitingOffline",
  slow: "waiting",
  strange: "waitingAway",
};

type Picture = () => ImageData;

/** What a drawing was answered, once the pen has rested. */
export type Settled = (picture: ImageData, answer: Answer) => void;

export class DrawView {
  readonly #pad = new Pad(find("pad", HTMLCanvasElement));
  readonly #tools = new Tools(this.#pad, () => this.#toggleWhy(), () => this.#invite());
  readonly #place = find("draw-answer", HTMLElement);
  readonly #panel = new Panel(this.#place, "waiting");
  readonly #map = find("map", HTMLCanvasElement);
  readonly #asker: Asker<Picture, Answer>;
  readonly #settled: Settled;
  readonly #announce: (text: string) => void;
  #model: Model | undefined;
  #answered: ImageData | undefined;
  #answer: Answer | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;
  #isExplaining = false;

  /** `settled` is told of each drawing's answer, `announce` says a text aloud, `cleared` is told of an empty pad. */
  constructor(settled: Settled, cleared: () => void, announce: (text: string) => void) {
    this.#settled = settled;
    this.#announce = announce;
    this.#asker = new Asker({
      send: (take, signal) => this.#send(take, signal),
      hear: (answer) => this.#hear(answer),
      fail: (error) => this.fail(error),
    });
    this.#pad.changed = () => {
      this.#change();
      if (this.#pad.isBlank) cleared();
    };
    drawWithKeys(this.#pad, find("cursor", HTMLElement), (news) => announce(say(news)));
    this.#panel.verdict.append(button("why"));
    this.#panel.verdict.after(find("reason", HTMLElement));
    button("why").hidden = false;
    button("why").addEventListener("click", () => this.#toggleWhy());
    new ResizeObserver(() => this.#showReason()).observe(this.#map);
    onLanguage(() => this.#translate());
    keepOverReloads(this.#pad);
    if (this.#pad.isBlank) cleared();
  }

  /** What another model answers, and is still to answer, is wanted no more. */
  setModel(model: Model): void {
    this.#model = model;
    this.#asker.forget();
    this.#panel.setModel(model);
    this.#show(undefined);
    this.#change();
  }

  /** There is no answer, and nobody to ask again before `again` is done. */
  fail(error: unknown, again: () => void = () => this.#ask()): void {
    const failure = failureOf(error, again);
    this.#answer = undefined;
    this.#place.ariaBusy = String(this.#asker.isWaiting);
    this.#panel.show(failure);
    this.#showReason();
    this.#announce(failure.failure);
  }

  /** How the way to the server stands: without one, no answer comes while somebody draws. */
  setLink(state: LinkState): void {
    this.#panel.setWaiting(WAITING[state]);
  }

  /** After a change of colours. */
  redraw(): void {
    this.#pad.redraw();
  }

  #change(): void {
    clearTimeout(this.#settling);
    this.#tools.show();
    const { isBlank } = this.#pad;
    this.#invite();
    this.#showWhy();
    if (isBlank) this.#clear();
    else if (this.#model) this.#ask();
  }

  /** To draw, on clean paper. */
  #invite(): void {
    const invitation = find("invitation", HTMLElement);
    setHidden(invitation, !this.#pad.isBlank);
    setText(invitation, say(this.#pad.erases ? "erased" : "invitation"));
  }

  #ask(): void {
    this.#panel.wait();
    this.#asker.ask(() => this.#pad.picture());
  }

  #clear(): void {
    // What is cleared was meant, though the pen has not rested long enough; what is undone was not.
    if (!this.#pad.drawing.canRedo && !this.#asker.isAsking) this.#keep();
    this.#asker.forget();
    this.#place.ariaBusy = "false";
    this.#show(undefined);
  }

  async #send(take: () => Picture, signal: AbortSignal): Promise<Answer> {
    let [drawn, sketch]: [ImageData?, Sketch?] = [];
    const picture = () => {
      drawn = take()();
      sketch = sketchOf(drawn);
      return sketch.image;
    };
    const options = { layout: "single", ink: "dark", explain: this.#isExplaining, signal } as const;
    const answer = await recognize(picture, this.#model!, options);
    this.#answered = drawn;
    return placed(answer, sketch!);
  }

  #hear(answer: Answer): void {
    this.#place.ariaBusy = String(this.#asker.isWaiting);
    this.#show(answer);
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#settle(), SETTLED_AFTER_MS);
  }

  #settle(): void {
    const character = this.#character;
    if (this.#pad.isDrawing || !this.#answer || !character) return;
    this.#announce(spoken(character));
    this.#keep();
  }

  #keep(): void {
    if (this.#answer && this.#character?.label) this.#settled(this.#answered!, this.#answer);
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
    if (!this.#isExplaining && this.#pad.isBlank) return this.#announce(say("whyEmpty"));
    this.#isExplaining = !this.#isExplaining;
    this.#showWhy();
    this.#showReason();
    // The answer that is shown has come without its reasons.
    if (this.#isExplaining && this.#answer && this.#model) this.#ask();
  }

  #showWhy(): void {
    const why = button("why");
    why.disabled = this.#pad.isBlank && !this.#isExplaining;
    why.title = why.disabled ? say("whyEmpty") : "";
    setText(why, say(this.#isExplaining ? "whyHide" : "why"));
  }

  #showReason(): void {
    setHidden(this.#map, !this.#isExplaining);
    setHidden(find("reason", HTMLElement), !this.#isExplaining);
    if (!this.#isExplaining) return;
    const character = this.#character;
    const label = character?.label;
    showMap(this.#map, character ?? {});
    showFrame(find("frame", HTMLCanvasElement), character?.evidence);
    setText(find("seen", HTMLElement), say(this.#pad.isBlank ? "whyEmpty" : "frameCaption"));
    setText(find("for", HTMLElement), label ? say("speaksFor", { label }) : "");
    setText(find("against", HTMLElement), label ? say("speaksAgainst", { label }) : "");
  }

  #translate(): void {
    this.#panel.translate();
    this.#invite();
    this.#showWhy();
    this.#showReason();
  }
}

/** The same answer, its boxes where they are in the drawing. */
function placed({ recognition, ...rest }: Answer, sketch: Sketch): Answer {
  const characters = recognition.characters.map((each) => ({ ...each, box: sketch.place(each.box) }));
  return { ...rest, recognition: { ...recognition, characters } };
}
