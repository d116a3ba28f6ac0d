// What the calls return: plain values, nothing of protobuf.

import type { RawImage } from "./grey.js";

/** The model that gave an answer. */
export interface ModelVersion {
  readonly name: string;
  readonly version: string;
}

/** Where the server's time went: waiting in its batcher, and the batch of `batchSize` images on its device. */
export interface Timing {
  readonly queueMs: number;
  readonly computeMs: number;
  readonly batchSize: number;
}

/** A rectangle in the image's own pixels. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** One label that a character could be, with its probability, 0..1. */
export interface Alternative {
  readonly label: string;
  readonly probability: number;
}

/** A class activation map, and the frame that it lies over. */
export interface Evidence {
  readonly width: number;
  readonly height: number;
  /** Row by row: how much each place spoke for the label (above 0) or against it (below 0). */
  readonly values: readonly number[];
  /** What the network saw: 28 x 28 for a digit. */
  readonly frame: RawImage;
}

/** One character of an image. */
export interface Character {
  /** The class name; "" where there is no character (a blank image). */
  readonly label: string;
  /** The model's probability of the label, 0..1; 0 where there is no character. */
  readonly probability: number;
  /** Below the model's published threshold, or no character at all. */
  readonly unsure: boolean;
  /** The `topK` best labels, best first, the answer itself included. */
  readonly alternatives: readonly Alternative[];
  /** Where it was found; the whole image if it came framed. */
  readonly box: Box;
  /** Only with `explain`. */
  readonly evidence?: Evidence;
}

/** The answer to one image: its text, and each character in reading order. */
export interface Recognition {
  readonly text: string;
  readonly characters: readonly Character[];
  readonly model: ModelVersion;
  readonly timing: Timing;
}

/** The answer to N packed images. */
export interface BatchRecognition {
  /** N class names; "" where there is no character (a blank image). */
  readonly labels: readonly string[];
  /** N indexes into `classNames`; -1 where there is no character. */
  readonly classes: readonly number[];
  /** N of them. */
  readonly unsure: readonly boolean[];
  /** N rows, one probability for each class, all zeros for a blank image; only if they were asked for. */
  readonly probabilities?: readonly Float32Array[];
  /** Where each character was found; absent if all images were framed already. */
  readonly boxes?: readonly Box[];
  readonly classNames: readonly string[];
  readonly model: ModelVersion;
  /**
   * Of its slowest and its largest batch on the server: the longest wait, the longest computing, the most images. They
   * may belong to different batches.
   */
  readonly timing: Timing;
}

/** A model that the server serves. */
export interface Model {
  readonly name: string;
  readonly version: string;
  /** Names for this version, such as "stable". */
  readonly labels: readonly string[];
  readonly classNames: readonly string[];
  readonly inputHeight: number;
  readonly inputWidth: number;
  /** On the `accuracyN` images of its test set, 0..1. */
  readonly accuracy: number;
  readonly accuracyN: number;
  /** Below this probability an answer is `unsure`. */
  readonly threshold: number;
  /** "CUDAExecutionProvider" or "CPUExecutionProvider". */
  readonly executionProvider: string;
  readonly maxBatchSize: number;
  readonly description: string;
}
