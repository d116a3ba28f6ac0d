import { errorFromStatus } from "digitserve";
import { expect, test, vi } from "vitest";

vi.mock("../src/language.js", () => ({ say: (key: string, values: Record<string, string> = {}) => [key, ...Object.values(values)].join(" ") }));
const { failureOf, reasonOf } = await import("../src/failure.js");

const image = { violations: [{ field: "image.encoded", description: "" }] };

test.each([
  ["INVALID_ARGUMENT", "the image is empty: 0 bytes", "reasonEmpty"],
  ["INVALID_ARGUMENT", "not a readable image file: expected one of PNG, JPEG", "reasonImage"],
  ["INVALID_ARGUMENT", "the image can't be decoded: broken data stream", "reasonImage"],
  ["INVALID_ARGUMENT", "the image has 9000 x 9000 = 81,000,000 pixels; at most 1 are accepted", "reasonPixels"],
  ["RESOURCE_EXHAUSTED", "message larger than max (9 vs. 8)", "reasonSize"],
  ["NOT_FOUND", "no model 'x'", "reasonModel"],
  ["DEADLINE_EXCEEDED", "no answer before the deadline", "reasonSlow"],
  ["PERMISSION_DENIED", "HTTP 403", "reasonForbidden"],
  ["INTERNAL", "oh", "reasonServer"],
  ["UNIMPLEMENTED", "not yet", "reasonOther"],
])("%s, %s: %s", (code, message, reason) => {
  expect(reasonOf(errorFromStatus(code, message, image))).toBe(reason);
});

test("a failure is told in plain words alone; whoever wants the others has them", () => {
  const { failure, detail } = failureOf(errorFromStatus("PERMISSION_DENIED", "HTTP 403"));
  expect([failure, detail]).toEqual(["refused reasonForbidden", "HTTP 403"]);
  expect(failureOf("oh").detail).toBe("oh");
});
