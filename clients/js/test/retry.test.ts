import { Code, ConnectError } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { DeadlineExceeded, Unavailable } from "../src/index.js";
import { ANSWER, clientOf, deferred, failing, failureOf, RAW, unavailable } from "./service.js";

describe("retries, by a clock of the test's own", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    vi.spyOn(Math, "random").mockReturnValue(0.5);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  /** Lets all timers pass in turn, and returns what the call ended in and how long it took. */
  async function run<T>(call: Promise<T>): Promise<{ end: T | unknown; tookMs: number }> {
    const started = performance.now();
    const settled = call.then(
      (end) => ({ end, tookMs: performance.now() - started }),
      (end: unknown) => ({ end, tookMs: performance.now() - started }),
    );
    await vi.runAllTimersAsync();
    return settled;
  }

  test("UNAVAILABLE is repeated until it is answered, with growing pauses", async () => {
    const { client, calls } = failing(unavailable(), unavailable(), unavailable());
    const { end, tookMs } = await run(client.recognize(RAW));
    expect(end).toMatchObject({ text: "7" });
    expect(calls()).toBe(4);
    expect(tookMs).toBe(100 + 200 + 400);
  });

  test("the fourth attempt is the last", async () => {
    const { client, calls } = failing(...Array.from({ length: 9 }, () => unavailable()));
    expect((await run(client.recognize(RAW))).end).toBeInstanceOf(Unavailable);
    expect(calls()).toBe(4);
  });

  test.each([
    [0, 80],
    [1, 120],
  ])("a pause is jittered by a fifth (%d)", async (random, expectedMs) => {
    vi.spyOn(Math, "random").mockReturnValue(random);
    expect((await run(failing(unavailable()).client.recognize(RAW))).tookMs).toBeCloseTo(expectedMs, 0);
  });

  test("the server's push-back takes the place of the backoff, and starts it anew", async () => {
    const { client, calls } = failing(unavailable(), unavailable("1234"), unavailable());
    expect((await run(client.recognize(RAW))).tookMs).toBe(100 + 1_234 + 100);
    expect(calls()).toBe(4);
  });

  test.each(["-1", "never"])("a push-back of %s forbids another attempt", async (pushback) => {
    const { client, calls } = failing(unavailable(pushback));
    expect((await run(client.recognize(RAW))).end).toBeInstanceOf(Unavailable);
    expect(calls()).toBe(1);
  });

  test("no pause reaches past the deadline: the error is told at once", async () => {
    const { client, calls } = failing(unavailable("3000"));
    const { end, tookMs } = await run(client.recognize(RAW, { timeoutMs: 2_000 }));
    expect(end).toBeInstanceOf(Unavailable);
    expect(tookMs).toBe(0);
    expect(calls()).toBe(1);
  });

  test.each([Code.ResourceExhausted, Code.Internal, Code.DeadlineExceeded, Code.Aborted, Code.Unknown])(
    "status %i is not repeated",
    async (code) => {
      const { client, calls } = failing(new ConnectError("no", code));
      await run(client.recognize(RAW));
      expect(calls()).toBe(1);
    },
  );

  test("an attempt gets what is left of the deadline, in whole milliseconds", async () => {
    const left: (string | null)[] = [];
    const client = clientOf({
      recognize: (_, context) => {
        left.push(context.requestHeader.get("connect-timeout-ms"));
        if (left.length < 3) throw unavailable();
        return ANSWER;
      },
    });
    await run(client.recognize(RAW, { timeoutMs: 999.5 }));
    expect(left).toEqual(["1000", "900", "700"]);
  });

  test("ten seconds are the deadline of a call that names none", async () => {
    const client = clientOf({ recognize: () => new Promise(() => {}) });
    const { end, tookMs } = await run(client.recognize(RAW));
    expect(end).toBeInstanceOf(DeadlineExceeded);
    expect(tookMs).toBe(10_000);
  });

  test("the client's own deadline, and the call's", async () => {
    const client = clientOf({ listModels: () => new Promise(() => {}) }, { timeoutMs: 70 });
    expect((await run(client.models())).tookMs).toBe(70);
    expect((await run(client.models({ timeoutMs: 30 }))).tookMs).toBe(30);
  });

  test("an abort ends a pause", async () => {
    const controller = new AbortController();
    const { client, calls } = failing(unavailable("5000"));
    const call = failureOf(client.recognize(RAW, { signal: controller.signal }));
    await vi.advanceTimersByTimeAsync(1_000);
    controller.abort();
    expect(await call).toBe(controller.signal.reason);
    expect(calls()).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});

test("an abort ends a call under way, with the signal's own reason", async () => {
  const controller = new AbortController();
  const arrived = deferred();
  const client = clientOf({
    recognize: () => {
      arrived.resolve();
      return new Promise(() => {});
    },
  });
  const call = failureOf(client.recognize(RAW, { signal: controller.signal }));
  await arrived.promise;
  controller.abort("enough");
  expect(await call).toBe("enough");
});

test("a signal that is aborted already sends nothing", async () => {
  const { client, calls } = failing();
  const signal = AbortSignal.abort();
  const ask = [
    client.recognize(RAW, { signal }),
    client.recognizeBatch(RAW.pixels, { signal }),
    client.models({ signal }),
  ];
  for (const call of ask) {
    expect(await failureOf(call)).toBe(signal.reason);
  }
  expect(calls()).toBe(0);
});

test.each([0, -1, NaN, Infinity, 100_000_000])("%d ms is no deadline", async (timeoutMs) => {
  const { client } = failing();
  expect(await failureOf(client.recognize(RAW, { timeoutMs }))).toBeInstanceOf(RangeError);
  expect(() => clientOf({}, { timeoutMs })).toThrow(RangeError);
});
