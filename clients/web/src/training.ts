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

/** Networks that `--network` takes and that can be served; the first is what training takes by itself. */
const NETWORKS = ["gap", "mixed", "wide", "small", "resnet", "dense", "deep", "vgg"];

const TRAINED_ON = /, trained on (.+?)(?:, with .+)? \(network ([^()]+)\)\.$/;

type Described = Pick<Model, "description" | "classNames">;

/**
 * The dataset that a model was trained on, if it says so and has that one's classes. Undefined for every other: a guess
 * would train another model.
 */
export function datasetOf(model: Described | undefined): string | undefined {
  const title = TRAINED_ON.exec(model?.description ?? "")?.[1];
  const dataset = DATASETS.find((each) => each.title === title);
  return dataset && dataset.classNames === model?.classNames.join("") ? dataset.name : undefined;
}

/**
 * What is to be run in the project's folder, where the corrections of the model called `name` were unpacked. With make, which
 * brings what training needs: to serve takes less.
 */
export function commandFor(name: string, model?: Described): string {
  const network = TRAINED_ON.exec(model?.description ?? "")?.[2] ?? "";
  const flags = NETWORKS.indexOf(network) > 0 ? ` --network ${network}` : ""; // none for the first, and for unknown ones
  return `make train ARGS="--dataset ${datasetOf(model) ?? UNKNOWN}${flags} --extra folder:${folderFor(name)}"`;
}
