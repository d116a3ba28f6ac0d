import { expect, test } from "vitest";

import { Asker } from "../src/ask.js";

interface Sent {
  question: number;
  signal: AbortSignal;
  answer: (text: string) => void;
  fail: (error: Error) => void;
}

/** An asker whose answers come when the test says so. */
function setUp() {
  const sent: Sent[] = [];
  const heard: [string, number][] = [];
  const failed: unknown[] = [];
  const asker = new Asker<number, string>({
    send: (take, signal) =>
      new Promise((answer, fail) => {
        sent.push({ question: take(), signal, answer, fail });
      }),
    hear: (answer, question) => heard.push([answer, question]),
    fail: (error) => failed.push(error),
  });
  return { asker, sent, heard, failed };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("one question is in flight, and the newest comes next", async () => {
  const { asker, sent, heard } = setUp();
  for (const question of [1, 2, 3]) asker.ask(question);
  expect(sent.map(({ question }) => question)).toEqual([1]);
  expect(asker.isWaiting).toBe(true);

  sent[0]!.answer("one");
  await settled();
  expect(sent.map(({ question }) => question)).toEqual([1, 3]);

  sent[1]!.answer("three");
  await settled();
  expect(heard).toEqual([["one", 1], ["three", 3]]);
  expect(asker.isAsking).toBe(false);
});

test("a repeated sending takes the newest", async () => {
  const heard: number[] = [];
  let again = () => {};
  const asker = new Asker<number, string>({
    send: async (take) => {
      take();
      await new Promise<void>((resolve) => (again = resolve));
      take();
      return "answer";
    },
    hear: (_, question) => heard.push(question),
    fail: () => {},
  });
  asker.ask(1);
  asker.ask(2);
  again();
  await settled();
  expect(heard).toEqual([2]);
  expect(asker.isAsking).toBe(false);
});

test("what is forgotten is aborted and never heard", async () => {
  const { asker, sent, heard, failed } = setUp();
  asker.ask(1);
  asker.forget();
  expect(sent[0]!.signal.aborted).toBe(true);
  asker.ask(2);
  sent[0]!.answer("late");
  sent[1]!.answer("two");
  await settled();
  expect(heard).toEqual([["two", 2]]);
  expect(failed).toEqual([]);
});

test("a failure ends its own question only", async () => {
  const { asker, sent, heard, failed } = setUp();
  asker.ask(1);
  asker.ask(2);
  sent[0]!.fail(new Error("no"));
  await settled();
  sent[1]!.answer("two");
  await settled();
  expect(failed).toEqual([new Error("no")]);
  expect(heard).toEqual([["two", 2]]);
});
