import { readFile } from "node:fs/promises";

import { expect, test } from "vitest";

import { commandFor, datasetOf } from "../src/training.js";

const DIGITS = [..."0123456789"];
const trainedOn = (words: string) => `Handwritten characters 0 to 9, trained on ${words} (network gap).`;

test.each([
  ["digits", "mnist"],
  ["digits-large", "mnist"],
  ["hanzi", "hanzi"],
  ["letters", "emnist-letters"],
])("the model %s that ships is trained on %s", async (name, dataset) => {
  const file = new URL(`../../../models/${name}/1/model.json`, import.meta.url);
  const { description, class_names: classNames } = JSON.parse(await readFile(file, "utf8"));
  expect(datasetOf({ description, classNames })).toBe(dataset);
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

test("the command names dataset and folder", () => {
  expect(commandFor("hanzi", datasetOf(undefined))).toBe("python -m train --dataset DATASET --extra folder:corrections-hanzi");
  expect(commandFor("letters", "emnist-letters")).toBe("python -m train --dataset emnist-letters --extra folder:corrections-letters");
});
