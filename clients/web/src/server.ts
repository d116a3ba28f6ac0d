// The server, as the page asks it: through Envoy on the page's own origin, for as long as it takes.

import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { DigitClient, type ImageInput, type Model, ModelNotFound, type RecognizeOptions } from "digitserve";

import { Link, timeoutFor } from "./link.js";
import { nameOf } from "./models.js";
import type { Answer } from "./panel.js";

// Short, so that an absence is soon noticed; the link goes on by itself.
const TIMEOUT_MS = 4_000;

const client = new DigitClient(createGrpcWebTransport({ baseUrl: location.origin }), { timeoutMs: TIMEOUT_MS });

export const link = new Link({
  isOnline: () => navigator.onLine,
  events: window,
  probe: () => client.models(),
});

/** What is to be done where a model is not served any more. */
export const surprises = { modelGone: () => {} };

export const listModels = (): Promise<Model[]> => link.persist(() => client.models());

/** A file's answer, which may take as long as the file takes to send. */
export function recognizeFile(file: File, model: Model, signal: AbortSignal): Promise<Answer> {
  return recognize(() => file, model, { signal, timeoutMs: timeoutFor(file.size), priority: "bulk" });
}

/**
 * One picture's answer. `take` gives it anew for each attempt: what is newest then is sent. With a timeout of its own, it
 * rejects when that is over.
 */
export async function recognize(
  take: () => ImageInput | Promise<ImageInput>,
  model: Model,
  options: RecognizeOptions,
): Promise<Answer> {
  const attempt = async () => {
    const image = await take();
    const start = performance.now();
    const whole = { ...options, model: nameOf(model), topK: model.classNames.length };
    const recognition = await client.recognize(image, whole);
    return { recognition, roundTripMs: performance.now() - start };
  };
  try {
    return await link.persist(attempt, options.signal, options.timeoutMs !== undefined);
  } catch (error) {
    if (error instanceof ModelNotFound) surprises.modelGone();
    throw error;
  }
}
