import { expect, test, vi } from "vitest";

vi.stubGlobal("navigator", { languages: ["en"] }); // it looks for the reader's language as it is loaded
const { percent, tenths } = await import("../src/language.js");

test("near a hundred, the bar says what the sentence says", () => {
  for (const share of [0.995, 0.99851, 0.99899, 0.9999, 1]) {
    expect(tenths(share)).toBe(percent(share));
  }
  expect(percent(0.99851)).toBe("99.8%");
  expect(percent(1)).toBe("99.9%");
});

test("other bars are rounded, as wide as the widest", () => {
  expect(tenths(0.3125)).toBe("31.3%");
  expect(tenths(0.0041)).toBe("\u20070.4%");
});
