// How a model is trained again with what was put right.

import type { Model } from "digitserve";

import { folderFor } from "./records.js";

interface Dataset {
  /** As `--dataset` takes it. */
  readonly name: string;
  /** As a model's description names it. */
  readonly title: string;
  readonly classNames: string;
}

/** The names of train/datasets.py; a test asks each model that ships. */
const DATASETS: readonly Dataset[] = [
  { name: "mnist", title: "MNIST", classNames: "0123456789" },
  { name: "emnist-letters", title: "EMNIST letters", classNames: "ABCDEFGHIJKLMNOPQRSTUVWXYZ" },
  { name: "hanzi", title: "Chinese MNIST", classNames: "零一二三四五六七八九十百千万亿" },
];

/** What stands in a command where the page can't know the dataset. */
export const UNKNOWN = "DATASET";

const TRAINED_ON = /, trained on (.+?)(?:, with .+)? \(network [^()]+\)\.$/;

/**
 * The dataset that a model was trained on, if it says so and has that one's classes. Undefined for every other: a guess
 * would train another model.
 */
export function datasetOf(model: Pick<Model, "description" | "classNames"> | undefined): string | undefined {
  const title = TRAINED_ON.exec(model?.description ?? "")?.[1];
  const dataset = DATASETS.find((each) => each.title === title);
  return dataset && dataset.classNames === model?.classNames.join("") ? dataset.name : undefined;
}

/** What is to be run where the corrections of `model` were unpacked. */
export function commandFor(model: string, dataset = UNKNOWN): string {
  return `python -m train --dataset ${dataset} --extra folder:${folderFor(model)}`;
}
