// The answer: the character, one sentence about it, the bars, and where the time went.

import type { Character, Model, Recognition } from "digitserve";

import { Bars } from "./bars.js";
import { make, setText } from "./dom.js";
import { percent, say } from "./language.js";
import type { WordKey } from "./words.js";

/** An answer, and how long it took to come. */
export interface Answer {
  readonly recognition: Recognition;
  readonly roundTripMs: number;
}

export class Panel {
  readonly #waitingKey: WordKey;
  readonly #glyph = make("p", "glyph");
  readonly #sentence = make("p", "sentence");
  readonly #times = make("p", "times quiet");
  readonly #bars = new Bars();
  #shown: Answer | { failure: string } | undefined;

  constructor(place: HTMLElement, waitingKey: WordKey) {
    this.#waitingKey = waitingKey;
    place.append(make("div", "verdict", this.#glyph, this.#sentence), this.#bars.list, this.#times);
  }

  setModel(model: Model): void {
    this.#bars.setClasses(model.classNames);
    this.#bars.list.setAttribute("aria-label", say("bars"));
    this.show(undefined);
  }

  /** An answer, a failure in words, or nothing yet. */
  show(shown: Answer | { failure: string } | undefined): void {
    this.#shown = shown;
    const answer = shown && "recognition" in shown ? shown : undefined;
    const character = answer?.recognition.characters[0];
    setText(this.#glyph, character?.label ?? "");
    this.#glyph.classList.toggle("unsure", character?.unsure ?? false);
    setText(this.#sentence, this.#sentenceFor(character));
    setText(this.#times, answer ? timesOf(answer) : "");
    const bars = new Map(character?.alternatives.map(({ label, probability }) => [label, probability]));
    this.#bars.show(bars, character?.label);
  }

  /** The same in another language. */
  translate(): void {
    this.#bars.list.setAttribute("aria-label", say("bars"));
    this.show(this.#shown);
  }

  #sentenceFor(character: Character | undefined): string {
    if (character) return sentence(character);
    if (this.#shown && "failure" in this.#shown) return say("refused", { reason: this.#shown.failure });
    return say(this.#waitingKey);
  }
}

/** How sure the model is, in plain words, with the runner-up where it is not. */
export function sentence({ label, probability, unsure, alternatives }: Character): string {
  if (!label) return say("noCharacter");
  const values = { label, percent: percent(probability) };
  if (!unsure) return say("sure", values);
  const other = alternatives.find((each) => each.label !== label);
  if (!other) return say("unsureAlone", values);
  return say("unsure", { ...values, other: other.label, otherPercent: percent(other.probability) });
}

/** What a screen reader says of an answer. */
export function spoken(character: Character): string {
  const { label, probability, unsure } = character;
  return unsure ? sentence(character) : say("spokenSure", { label, percent: percent(probability) });
}

function timesOf({ recognition: { timing }, roundTripMs }: Answer): string {
  const short = (ms: number) => ms.toFixed(ms < 10 ? 1 : 0);
  return say("times", {
    roundTrip: short(roundTripMs),
    queue: short(timing.queueMs),
    compute: short(timing.computeMs),
  });
}
