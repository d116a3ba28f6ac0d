import { readFile } from "node:fs/promises";

import { expect, test } from "vitest";

import { commandFor, datasetOf } from "../src/training.js";

const DIGITS = [..."0123456789"];
const trainedOn = (words: string) => `Handwritten characters 0 to 9, trained on ${words} (network gap).`;

test.each([
  ["digits", "mnist"],
  ["digits-robust", "mnist"],
  ["hanzi", "hanzi"],
  ["letters", "emnist-letters"],
])("the model %s that ships is trained on %s", async (name, dataset) => {
  const file = new URL(`../../../models/${name}/1/model.json`, import.meta.url);
  const { description, class_names: classNames, training } = JSON.parse(await readFile(file, "utf8"));
  expect(datasetOf({ description, classNames })).toBe(dataset);
  // As its own recipe does.
  const networkOf = (command: string) => / --network (\w+) /.exec(command)?.[1];
  expect(networkOf(commandFor(name, { description, classNames }))).toBe(networkOf(training.command));
});

test("a model that was trained with corrections is trained on the same dataset again", () => {
  const description = trainedOn("MNIST, with the folder corrections-digits added to the training images");
  expect(datasetOf({ description, classNames: DIGITS })).toBe("mnist");
});

test.each([
  ["", DIGITS],
  ["Reads digits.", DIGITS],
  [trainedOn("the folder mine"), DIGITS],
  [trainedOn("MNIST and the folder mine"), DIGITS],
  [trainedOn("MNIST"), ["a", "b"]],
])("of a model that says %j the dataset is not guessed", (description, classNames) => {
  expect(datasetOf({ description, classNames })).toBeUndefined();
});

test("the command names dataset and folder, and no network that nobody has told of", () => {
  const plain = 'make train ARGS="--dataset DATASET --extra folder:corrections-hanzi"';
  expect(commandFor("hanzi")).toBe(plain);
  expect(commandFor("hanzi", { description: "Trained (network mixed).", classNames: DIGITS })).toBe(plain);
  const model = { description: trainedOn("MNIST").replace("gap", "mine; reboot"), classNames: DIGITS };
  expect(commandFor("digits", model)).toBe('make train ARGS="--dataset mnist --extra folder:corrections-digits"');
});
