// What several tabs of the page remember together.

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Records, withRight } from "../src/records.js";
import { Shelf } from "../src/shelf.js";
import { record } from "./record.js";

let stored: Map<string, string>;
let room: number;
let tabs: EventTarget;

beforeEach(() => {
  stored = new Map();
  room = Infinity;
  tabs = new EventTarget();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, text: string) => {
      if (text.length > room) throw new DOMException("no room", "QuotaExceededError");
      stored.set(key, text);
    },
  });
  vi.stubGlobal("addEventListener", tabs.addEventListener.bind(tabs));
});
afterEach(() => void vi.unstubAllGlobals());

const add = (id: number, right?: string) => (records: Records) =>
  [record(id, right ? { right } : {}), ...records].sort((a, b) => b.id - a.id);
const idsOf = ({ records }: Shelf) => records.map(({ id }) => id);

test("two tabs don't overwrite each other", () => {
  const [one, two] = [new Shelf(), new Shelf()];
  one.change(add(1));
  two.change(add(2));
  one.change((records) => withRight(records, 2, "9"));
  expect(idsOf(one)).toEqual([2, 1]);
  expect(new Shelf().records.map(({ right }) => right)).toEqual(["9", undefined]);
});

test("a tab hears of what another has written", () => {
  const [one, two] = [new Shelf(), new Shelf()];
  two.changed = vi.fn();
  one.change(add(1));
  tabs.dispatchEvent(Object.assign(new Event("storage"), { key: "digitserve.theme" }));
  expect(two.changed).not.toHaveBeenCalled();
  tabs.dispatchEvent(Object.assign(new Event("storage"), { key: "digitserve.history" }));
  expect(two.changed).toHaveBeenCalledOnce();
  expect(idsOf(two)).toEqual([1]);
});

test("where there is no room, the oldest go, and what was put right stays", () => {
  const shelf = new Shelf();
  shelf.change(add(1, "9"));
  room = 3 * stored.get("digitserve.history")!.length;
  for (let id = 2; id < 9; id += 1) shelf.change(add(id));
  expect(idsOf(shelf).at(-1)).toBe(1);
  expect(idsOf(shelf)[0]).toBe(8);
  expect(idsOf(new Shelf())).toEqual(idsOf(shelf));
});

test("a browser that remembers nothing forgets when the page is left, and not before", () => {
  room = 0;
  const shelf = new Shelf();
  shelf.change(add(1));
  shelf.change(add(2));
  expect(idsOf(shelf)).toEqual([2, 1]);
});
