// From the server's messages to results, once and checked: nothing of protobuf reaches the caller.

import type * as pb from "./digitserve/v1/recognizer_pb.js";
import { Internal } from "./errors.js";
import type { BatchRecognition, Box, Character, Evidence, Model, ModelVersion, Recognition, Timing } from "./result.js";

export function recognitionFrom(message: pb.RecognizeResponse): Recognition {
  return {
    text: message.text,
    characters: message.characters.map(characterFrom),
    model: modelVersionFrom(message.model),
    timing: timingFrom(message.timing),
  };
}

function characterFrom({ label, probability, unsure, alternatives, box, evidence }: pb.Character): Character {
  return {
    label,
    probability,
    unsure,
    alternatives: alternatives.map((each) => ({ label: each.label, probability: each.probability })),
    box: { left: box?.left ?? 0, top: box?.top ?? 0, width: box?.width ?? 0, height: box?.height ?? 0 },
    ...(evidence && { evidence: evidenceFrom(evidence) }),
  };
}

function evidenceFrom({ width, height, values, frame }: pb.Evidence): Evidence {
  const side = Math.round(Math.sqrt(frame.length));
  if (values.length !== width * height || frame.length !== side * side) {
    throw nonsense(`the evidence in the server's answer has ${values.length} values and ${frame.length} pixels`);
  }
  return { width, height, values, frame: { pixels: frame, width: side, height: side } };
}

function modelVersionFrom(message: pb.ModelVersion | undefined): ModelVersion {
  return { name: message?.name ?? "", version: message?.version ?? "" };
}

function timingFrom(message: pb.Timing | undefined): Timing {
  return { queueMs: message?.queueMs ?? 0, computeMs: message?.computeMs ?? 0, batchSize: message?.batchSize ?? 0 };
}

export function modelFrom(message: pb.Model): Model {
  const { $typeName, $unknown, ...model } = message;
  return model;
}

/** Reads the answer to `count` images. Throws Internal if it makes no sense for so many. */
export function batchFrom(
  message: pb.RecognizeBatchResponse,
  count: number,
  wantsProbabilities: boolean,
): BatchRecognition {
  const { classes, unsure, classNames } = message;
  if (classes.length !== count || unsure.length !== count) {
    throw nonsense(`asked about ${count} images, but the server answered ${classes.length}`);
  }
  if (!classes.every((index) => index >= -1 && index < classNames.length)) {
    throw nonsense(`the server answered a class outside its own ${classNames.length} class names`);
  }
  return {
    labels: classes.map((index) => classNames[index] ?? ""),
    classes,
    unsure,
    ...(wantsProbabilities && { probabilities: rowsFrom(message.probabilities, count, classNames.length) }),
    ...(message.boxes.length && { boxes: boxesFrom(message.boxes, count) }),
    classNames,
    model: modelVersionFrom(message.model),
    timing: timingFrom(message.timing),
  };
}

/** Rows of little-endian float32. */
function rowsFrom(bytes: Uint8Array, rows: number, columns: number): Float32Array[] {
  if (bytes.length !== 4 * rows * columns) {
    throw nonsense(`the server's answer holds ${bytes.length} bytes where ${rows} x ${columns} numbers belong`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const table = Float32Array.from({ length: rows * columns }, (_, at) => view.getFloat32(4 * at, true));
  return Array.from({ length: rows }, (_, row) => table.subarray(row * columns, (row + 1) * columns));
}

function boxesFrom(numbers: readonly number[], count: number): Box[] {
  if (numbers.length !== 4 * count)
    throw nonsense(`the server answered ${numbers.length / 4} boxes for ${count} images`);
  return Array.from({ length: count }, (_, row) => {
    const [left = 0, top = 0, width = 0, height = 0] = numbers.slice(4 * row, 4 * row + 4);
    return { left, top, width, height };
  });
}

/**
 * The answer to a batch that was sent in one part or more, in order; its timing is the longest of them.
 *
 * Throws Internal if another model, or version of it, answered some of the parts: the server was replaced in between.
 */
export function joinedBatch(parts: readonly BatchRecognition[], side: number): BatchRecognition {
  const first = parts[0]!;
  if (parts.length === 1) return first;
  for (const other of parts) checkAlike(first, other);
  return {
    labels: parts.flatMap((part) => part.labels),
    classes: parts.flatMap((part) => part.classes),
    unsure: parts.flatMap((part) => part.unsure),
    ...(first.probabilities && { probabilities: parts.flatMap((part) => part.probabilities ?? []) }),
    ...(parts.some((part) => part.boxes) && { boxes: parts.flatMap((part) => part.boxes ?? wholeBoxes(part, side)) }),
    classNames: first.classNames,
    model: first.model,
    timing: longest(parts.map((part) => part.timing)),
  };
}

function checkAlike(first: BatchRecognition, other: BatchRecognition): void {
  const [before, after] = [first, other].map(({ model }) => `${model.name}:${model.version}`);
  if (before !== after || first.classNames.join("\0") !== other.classNames.join("\0")) {
    throw nonsense(`the model changed from ${before} to ${after} while the batch was read: send it again`);
  }
}

/** A part whose images all came framed has no boxes. Beside one that has, its boxes are whole images, as in a call. */
function wholeBoxes(part: BatchRecognition, side: number): Box[] {
  return part.labels.map(() => ({ left: 0, top: 0, width: side, height: side }));
}

function longest(timings: readonly Timing[]): Timing {
  return {
    queueMs: Math.max(...timings.map((timing) => timing.queueMs)),
    computeMs: Math.max(...timings.map((timing) => timing.computeMs)),
    batchSize: Math.max(...timings.map((timing) => timing.batchSize)),
  };
}

export function nonsense(message: string): Internal {
  return new Internal("INTERNAL", message);
}
