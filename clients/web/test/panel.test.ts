import type { Character } from "digitserve";
import { beforeAll, expect, test, vi } from "vitest";

let panel: typeof import("../src/panel.js");
beforeAll(async () => {
  vi.stubGlobal("navigator", { languages: ["en"] });
  panel = await import("../src/panel.js");
});

function character(probability: number, unsure: boolean, other?: number): Character {
  const alternatives = [{ label: "3", probability }];
  if (other !== undefined) alternatives.push({ label: "2", probability: other });
  return { label: "3", probability, unsure, alternatives, box: { left: 0, top: 0, width: 1, height: 1 } } as Character;
}

/** Of ten classes, the likeliest with this probability, and the others with what is left of it. */
function amongTen(probability: number, unsure: boolean): Character {
  const rest = (1 - probability) / 9;
  const alternatives = [..."3012456789"].map((label, place) => ({ label, probability: place ? rest : probability }));
  return { ...character(probability, unsure), alternatives };
}

test.each([
  [amongTen(0.11, true), "Not sure.\nNone of these?"],
  [amongTen(0.21, true), "Not sure.\nPerhaps 3\u00a0(21%), or 0\u00a0(9%)."],
  [amongTen(0.19, false), "Most likely 3\u00a0(19%),\nthen 0\u00a0(9%)."],
  [{ ...amongTen(0.05, true), label: "" }, "There is no character here."],
  [character(0.999, false, 0.001), "99.9% sure.", "3, 99.9%"],
  [character(0.49, false, 0.13), "Most likely 3\u00a0(49%),\nthen 2\u00a0(13%)."],
  [character(0.31, true, 0.29), "Not sure.\nPerhaps 3\u00a0(31%), or 2\u00a0(29%)."],
  [character(0.31, true), "Not sure.\nPerhaps 3\u00a0(31%)."],
])("how sure it is, in words: %#", (given, sentence, spoken = sentence) => {
  expect(panel.sentence(given)).toBe(sentence);
  expect(panel.spoken(given)).toBe(spoken);
});
