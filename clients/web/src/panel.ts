// The answer: the character, one sentence about it, the bars, and where the time went.

import type { Character, Model, Recognition } from "digitserve";

import { Bars } from "./bars.js";
import { make, setHidden, setText } from "./dom.js";
import type { Failure } from "./failure.js";
import { percent, say } from "./language.js";
import type { WordKey } from "./words.js";

/** An answer, and how long it took to come. */
export interface Answer {
  readonly recognition: Recognition;
  readonly roundTripMs: number;
}

/** From here on an answer is called sure. Below, it is only the likeliest: letters and digits look alike at times. */
const SURE_FROM = 0.8;

/** What is said while there is no answer and nothing is wrong. */
const CALM = new Set<WordKey>(["waiting", "waitingCamera", "waitingStill"]);

export class Panel {
  /** The row with the character and the sentence. */
  readonly verdict: HTMLElement;
  readonly #place: HTMLElement;
  #waitingKey: WordKey;
  readonly #glyph = make("p", "glyph");
  readonly #runner = make("p", "runner"); // what else it may be, beside it
  readonly #sentence = make("p", "sentence");
  readonly #times = make("p", "times quiet");
  readonly #bars = new Bars();
  readonly #again = make("button", "again");
  #shown: Answer | Failure | undefined;

  constructor(place: HTMLElement, waitingKey: WordKey) {
    this.#place = place;
    this.#waitingKey = waitingKey;
    this.#runner.ariaHidden = "true"; // the sentence says it
    this.verdict = make("div", "verdict", make("div", "glyphs", this.#glyph, this.#runner), this.#sentence, this.#again);
    this.#again.type = "button";
    this.#again.addEventListener("click", () => this.#shown && "failure" in this.#shown && this.#shown.again?.());
    place.append(this.verdict, this.#bars.list, this.#times);
  }

  /** What to say while there is no answer. */
  setWaiting(key: WordKey): void {
    this.#waitingKey = key;
    this.show(this.#shown);
  }

  /** An answer is to come: a failure of before is over, an answer stays until the next. */
  wait(): void {
    this.#place.ariaBusy = "true";
    this.forgive();
    if (this.#isInTrouble) this.show(this.#shown);
  }

  setModel(model: Model): void {
    this.#bars.setClasses(model.classNames);
    this.#bars.list.setAttribute("aria-label", say("bars"));
    this.show(undefined);
  }

  /** An answer, a failure in words, or nothing yet. */
  show(shown: Answer | Failure | undefined): void {
    this.#shown = shown;
    const answer = shown && "recognition" in shown ? shown : undefined;
    this.#showFailure(shown && "failure" in shown ? shown : undefined);
    this.#place.classList.toggle("stale", this.#isInTrouble && answer !== undefined);
    const character = answer?.recognition.characters[0];
    setText(this.#glyph, character ? glyphOf(character) : "");
    this.#glyph.classList.toggle("unsure", character?.unsure ?? false);
    setText(this.#runner, (character?.unsure && !isNone(character) && runnerUp(character)?.label) || "");
    this.#sentence.classList.toggle("trouble", this.#isInTrouble);
    setText(this.#sentence, this.#sentenceFor(character));
    setText(this.#times, answer ? timesOf(answer) : "");
    const bars = new Map(character?.alternatives.map(({ label, probability }) => [label, probability]));
    this.#bars.show(bars, character && isNone(character) ? undefined : character?.label);
  }

  /** A failure of before is over. */
  forgive(): void {
    if (this.#shown && "failure" in this.#shown) this.show(undefined);
  }

  /** The same in another language. */
  translate(): void {
    this.#bars.list.setAttribute("aria-label", say("bars"));
    this.show(this.#shown);
  }

  #showFailure(failure: Failure | undefined): void {
    const detail = failure?.detail ?? "";
    if (this.#sentence.title !== detail) this.#sentence.title = detail;
    setHidden(this.#again, !failure?.again);
    setText(this.#again, say("again"));
  }

  /** Whether there is an answer to wait for, and nobody to give it. */
  get #isInTrouble(): boolean {
    return !CALM.has(this.#waitingKey) && (!this.#shown || this.#place.ariaBusy === "true");
  }

  #sentenceFor(character: Character | undefined): string {
    if (this.#isInTrouble) return say(this.#waitingKey);
    if (character) return sentence(character);
    if (this.#shown && "failure" in this.#shown) return this.#shown.failure;
    return say(this.#waitingKey);
  }
}

/** How sure the model is, in plain words, with the runner-up where it is not. */
export function sentence(character: Character): string {
  const { label, probability, unsure } = character;
  if (!label) return say("noCharacter");
  if (isNone(character)) return say("none");
  const values = { label, percent: percent(probability) };
  const other = runnerUp(character);
  if (isSure(character) || (!unsure && !other)) return say("sure", values);
  if (!other) return say("unsureAlone", values);
  const both = { ...values, other: other.label, otherPercent: percent(other.probability) };
  return say(unsure ? "unsure" : "likely", both);
}

/**
 * Whether no class stands out: the likeliest is less than twice as likely as chance would have it. The page asks for all
 * classes, so it can tell.
 */
export function isNone({ label, probability, unsure, alternatives }: Character): boolean {
  return label !== "" && unsure && alternatives.length > 2 && probability * alternatives.length < 2;
}

/** What stands large before the sentence. */
export function glyphOf(character: Character): string {
  return isNone(character) ? "?" : character.label;
}

function isSure({ probability, unsure }: Character): boolean {
  return !unsure && probability >= SURE_FROM;
}

function runnerUp({ label, alternatives }: Character): Character["alternatives"][number] | undefined {
  return alternatives.find((each) => each.label !== label);
}

/** What a screen reader says of an answer. */
export function spoken(character: Character): string {
  const { label, probability } = character;
  return isSure(character) ? say("spokenSure", { label, percent: percent(probability) }) : sentence(character);
}

function timesOf({ recognition: { timing }, roundTripMs }: Answer): string {
  const short = (ms: number) => ms.toFixed(ms < 10 ? 1 : 0);
  return say("times", {
    roundTrip: short(roundTripMs),
    queue: short(timing.queueMs),
    compute: short(timing.computeMs),
  });
}
