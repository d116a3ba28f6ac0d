import { expect, test } from "vitest";

import { fill, languageFor, type WordKey, WORDS } from "../src/words.js";

const placesIn = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(([place]) => place).sort();

test("both languages say everything, with the same things filled in", () => {
  expect(Object.keys(WORDS.zh).sort()).toEqual(Object.keys(WORDS.en).sort());
  for (const key of Object.keys(WORDS.en) as WordKey[]) {
    expect(WORDS.zh[key], key).not.toBe("");
    expect(placesIn(WORDS.zh[key]), key).toEqual(placesIn(WORDS.en[key]));
  }
});

test("no line ends between a character and its probability", () => {
  for (const key of ["likely", "unsure", "unsureAlone"] as const) {
    expect(WORDS.en[key]).not.toMatch(/\} \(/);
    expect(WORDS.zh[key]).not.toMatch(/\}（/);
  }
});

test("texts are filled in", () => {
  expect(fill("{label} is {percent}, {label}", { label: "7", percent: "99 %" })).toBe("7 is 99 %, 7");
  expect(fill("{unknown}", {})).toBe("{unknown}");
});

test.each([
  [["zh-CN", "en"], "zh"],
  [["fr-FR", "zh-Hant-TW", "en"], "zh"],
  [["en-GB", "zh"], "en"],
  [["", "fr"], "en"],
  [[], "en"],
])("readers of %j are shown %s", (preferred, language) => {
  expect(languageFor(preferred)).toBe(language);
});
