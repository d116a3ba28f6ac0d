// The page's language: texts stand in index.html's data-word, data-label and data-role attributes, and in what code
// says.

import { button } from "./dom.js";
import { remember, remembered } from "./store.js";
import { fill, type Language, languageFor, type WordKey, WORDS } from "./words.js";

let language: Language = languageFor([remembered("language") ?? "", ...navigator.languages]);
const listeners: (() => void)[] = [];

/** A text in the reader's language. */
export function say(key: WordKey, values: Readonly<Record<string, string | number>> = {}): string {
  return fill(WORDS[language][key], values);
}

export function percent(share: number): string {
  // Never a full hundred: no network is that sure.
  return `${share >= 0.995 ? Math.min(99.9, Math.floor(share * 1000) / 10) : Math.round(share * 100)}%`;
}

/** With one decimal and two places before it: numbers that stand one below the other. Near a hundred as `percent` says it. */
export function tenths(share: number): string {
  const number = share >= 0.995 ? Math.min(99.9, Math.floor(share * 1000) / 10) : share * 100;
  return `${number.toFixed(1).padStart(4, "\u2007")}%`;
}

/** Calls now, and again whenever the language changes. */
export function onLanguage(show: () => void): void {
  listeners.push(show);
  show();
}

/** Shows the page in its language, and lets the reader switch. */
export function startLanguage(): void {
  onLanguage(translate);
  button("language").addEventListener("click", () => {
    language = language === "en" ? "zh" : "en";
    remember("language", language);
    for (const show of listeners) show();
  });
}

function translate(): void {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  const toggle = button("language");
  toggle.textContent = say("language");
  toggle.setAttribute("aria-label", say("languageLabel"));
  toggle.lang = language === "zh" ? "en" : "zh-Hans";
  for (const element of document.querySelectorAll<HTMLElement>("[data-word]")) {
    element.textContent = say(element.dataset.word as WordKey);
  }
  for (const element of document.querySelectorAll<HTMLElement>("[data-label]")) {
    const label = say(element.dataset.label as WordKey);
    element.setAttribute("aria-label", label);
    if (element instanceof HTMLButtonElement || element instanceof HTMLInputElement) element.title = label;
  }
  for (const element of document.querySelectorAll<HTMLElement>("[data-role]")) {
    element.setAttribute("aria-roledescription", say(element.dataset.role as WordKey));
  }
}
