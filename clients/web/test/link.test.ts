import { DeadlineExceeded, Internal, InvalidImage, Overloaded, Unavailable } from "digitserve";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Link, type LinkState, StrangeAnswer, timeoutFor } from "../src/link.js";

const away = () => new Unavailable("UNAVAILABLE", "nobody there");

function setUp() {
  const world = { isUp: true, isOnline: true, events: new EventTarget(), probes: 0 };
  const link = new Link({
    isOnline: () => world.isOnline,
    events: world.events,
    probe: async () => {
      world.probes += 1;
      if (!world.isUp) throw away();
    },
  });
  const states: LinkState[] = [];
  link.changed = (state) => states.push(state);
  const call = async () => {
    if (!world.isUp) throw away();
    return "answer";
  };
  return { link, world, states, call };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("a call is repeated until the server is back", async () => {
  const { link, world, states, call } = setUp();
  world.isUp = false;
  const answer = link.persist(call);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(states).toEqual(["away"]);
  expect(world.probes).toBeGreaterThan(2);
  expect(world.probes).toBeLessThan(10); // it asks less and less often

  world.isUp = true;
  await vi.advanceTimersByTimeAsync(4_000);
  await expect(answer).resolves.toBe("answer");
  expect(states).toEqual(["away", "well"]);
});

test("the network's return is noticed at once", async () => {
  const { link, world, states, call } = setUp();
  world.isUp = world.isOnline = false;
  const answer = link.persist(call);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(states).toEqual(["offline"]);

  world.isUp = world.isOnline = true;
  world.events.dispatchEvent(new Event("online"));
  await vi.advanceTimersByTimeAsync(0);
  await expect(answer).resolves.toBe("answer");
  expect(link.state).toBe("well");
});

test("a server that is busy is asked again when it said", async () => {
  const { link, states } = setUp();
  let calls = 0;
  const call = async () => {
    calls += 1;
    if (calls === 1) throw new Overloaded("RESOURCE_EXHAUSTED", "full", { retryAfterMs: 300 });
    return "answer";
  };
  const answer = link.persist(call);
  await vi.advanceTimersByTimeAsync(299);
  expect(calls).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  await expect(answer).resolves.toBe("answer");
  expect(states).toEqual(["busy", "well"]);
});

test("what repeating can't mend is told at once", async () => {
  const { link, states } = setUp();
  const error = new InvalidImage("INVALID_ARGUMENT", "not an image");
  await expect(link.persist(() => Promise.reject(error))).rejects.toBe(error);
  expect(states).toEqual([]);
});

test("who gives up waits no longer, and the page still learns that the server is back", async () => {
  const { link, world, states, call } = setUp();
  world.isUp = false;
  const stop = new AbortController();
  const answer = expect(link.persist(call, stop.signal)).rejects.toThrow("enough");
  await vi.advanceTimersByTimeAsync(100);
  stop.abort(new Error("enough"));
  await answer;
  world.isUp = true;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(states).toEqual(["away", "well"]);
});

test("who gives up while a repeat is on its way leaves no absence behind", async () => {
  const { link, states } = setUp();
  const stop = new AbortController();
  let calls = 0;
  const call = () => {
    calls += 1;
    if (calls === 1) return Promise.reject(away());
    return new Promise<never>((_, reject) => stop.signal.addEventListener("abort", () => reject(away())));
  };
  const answer = expect(link.persist(call, stop.signal)).rejects.toThrow("enough");
  await vi.advanceTimersByTimeAsync(300);
  expect(calls).toBe(2);
  expect(states).toEqual(["away"]);
  stop.abort(new Error("enough"));
  await answer;
  await vi.advanceTimersByTimeAsync(300);
  expect(states).toEqual(["away", "well"]);
});

test("a refusal says that somebody is there, to a call and to a probe", async () => {
  const { world } = setUp();
  const broken = new Internal("INTERNAL", "HTTP 500");
  let refusals = 0;
  const around = { isOnline: () => true, events: world.events, probe: () => Promise.reject(broken) };
  const other = new Link(around);
  const told: LinkState[] = [];
  other.changed = (state) => told.push(state);
  const answer = other.persist(() => Promise.reject((refusals += 1) === 1 ? away() : broken));
  const refused = expect(answer).rejects.toBe(broken);
  await vi.advanceTimersByTimeAsync(300);
  await refused;
  expect(told).toEqual(["away", "well"]);
});

test("an answer that is long in coming is waited for, and the page says so", async () => {
  const { link, states } = setUp();
  const late = () => new Promise<string>((resolve) => setTimeout(resolve, 5_000, "answer"));
  const answer = link.persist(late);
  await vi.advanceTimersByTimeAsync(3_900);
  expect(states).toEqual([]);
  await vi.advanceTimersByTimeAsync(200);
  expect(states).toEqual(["slow"]);
  await vi.advanceTimersByTimeAsync(1_000);
  await expect(answer).resolves.toBe("answer");
  expect(states).toEqual(["slow", "well"]);
  const file = link.persist(late, undefined, true); // of which nobody expects it at once
  await vi.advanceTimersByTimeAsync(5_000);
  await file;
  expect(states).toEqual(["slow", "well"]);
});

test("something else that answers is told apart, and gone when the server answers again", async () => {
  const { link, states } = setUp();
  const cause = new Error("no connection", { cause: new StrangeAnswer("an answer of text/html") });
  let calls = 0;
  const answer = link.persist(async () => {
    if ((calls += 1) === 1) throw new Unavailable("UNAVAILABLE", "nobody", {}, { cause });
    return "answer";
  });
  await vi.advanceTimersByTimeAsync(300);
  await expect(answer).resolves.toBe("answer");
  expect(states).toEqual(["strange", "well"]);
});

test("a device that goes offline says so before anybody asks", () => {
  const { link, world } = setUp();
  world.events.dispatchEvent(new Event("offline"));
  expect(link.state).toBe("offline");
});

test("a short call without an answer means that nobody is there; a long one speaks for itself alone", async () => {
  const { link, states } = setUp();
  const late = new DeadlineExceeded("DEADLINE_EXCEEDED", "no answer before the deadline");
  await expect(link.persist(() => Promise.reject(late), undefined, true)).rejects.toBe(late);
  expect(states).toEqual([]);
  let calls = 0;
  const answer = link.persist(async () => {
    if ((calls += 1) === 1) throw late;
    return "answer";
  });
  await vi.advanceTimersByTimeAsync(1_000);
  await expect(answer).resolves.toBe("answer");
  expect(states).toEqual(["away", "well"]);
});

test("a file has as long as a slow line needs for it", () => {
  expect(timeoutFor(0)).toBe(60_000);
  const sixMegabytesAt1MbitMs = (6_000_000 * 8) / 1_000;
  expect(timeoutFor(6_000_000)).toBeGreaterThan(4 * sixMegabytesAt1MbitMs);
  expect(timeoutFor(1e12)).toBeLessThan(300_000);
});
