import { expect, test } from "vitest";

import { Drawing, parseStrokes, type Stroke } from "../src/strokes.js";

const stroke = (x: number): Stroke => ({ points: [{ x, y: 0, thickness: 1 }], width: 20, erases: false });
const [first, second, third] = [stroke(1), stroke(2), stroke(3)];

test("strokes are undone from the last, and redone in order", () => {
  const drawing = new Drawing();
  drawing.add(first);
  drawing.add(second);
  drawing.undo();
  expect(drawing.strokes).toEqual([first]);
  drawing.undo();
  expect(drawing.strokes).toEqual([]);
  expect(drawing.undo()).toBe(false);
  drawing.redo();
  drawing.redo();
  expect(drawing.strokes).toEqual([first, second]);
  expect(drawing.redo()).toBe(false);
});

test("a new stroke ends what could be redone", () => {
  const drawing = new Drawing();
  drawing.add(first);
  drawing.undo();
  expect(drawing.canRedo).toBe(true);
  drawing.add(third);
  expect(drawing.canRedo).toBe(false);
});

test("clearing can be undone, and clearing nothing is no change", () => {
  const drawing = new Drawing();
  drawing.clear();
  expect(drawing.canUndo).toBe(false);
  drawing.add(first);
  drawing.clear();
  expect(drawing.strokes).toEqual([]);
  drawing.undo();
  expect(drawing.strokes).toEqual([first]);
});

test("a stroke that grows after it was added is undone whole", () => {
  const drawing = new Drawing();
  const growing = stroke(4);
  drawing.add(growing);
  growing.points.push({ x: 5, y: 5, thickness: 1 });
  drawing.undo();
  drawing.redo();
  expect(drawing.strokes[0]!.points).toHaveLength(2);
});

test("a stroke that is withdrawn leaves no trace", () => {
  const drawing = new Drawing();
  drawing.add(first);
  drawing.add(second);
  drawing.withdraw();
  expect(drawing.strokes).toEqual([first]);
  expect(drawing.canRedo).toBe(false);
  drawing.undo();
  expect(drawing.canUndo).toBe(false);
});

test("what was kept is brought back, and each of its strokes can be undone", () => {
  const drawing = new Drawing();
  const kept = parseStrokes(JSON.stringify([first, second]));
  expect(kept).toEqual([first, second]);
  drawing.restore(kept);
  drawing.undo();
  expect(drawing.strokes).toEqual([first]);
  drawing.undo();
  expect(drawing.undo()).toBe(false);
});

test.each([null, "", "{", "{}", "[null]", '[{"points":[]}]', '[{"points":[{"x":1,"y":2}],"width":3,"erases":false}]'])(
  "what was kept and makes no sense is nothing: %s",
  (text) => expect(parseStrokes(text)).toEqual([]),
);
