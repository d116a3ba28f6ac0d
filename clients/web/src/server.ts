// The server, as the page asks it: through Envoy on the page's own origin, for as long as it takes.

import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { DigitClient, type ImageInput, type Model, ModelNotFound, type RecognizeOptions } from "digitserve";

import { CALL_TIMEOUT_MS, Link, StrangeAnswer, timeoutFor } from "./link.js";
import { nameOf } from "./models.js";
import type { Answer } from "./panel.js";
import { fitted } from "./photo.js";

const transport = createGrpcWebTransport({ baseUrl: location.origin, fetch: fetchAnswer });
const client = new DigitClient(transport, { timeoutMs: CALL_TIMEOUT_MS });

export const link = new Link({
  isOnline: () => navigator.onLine,
  events: window,
  probe: () => client.models(),
});

/** What is to be done where a model is not served any more. */
export const surprises = { modelGone: () => {} };

export const listModels = (): Promise<Model[]> => link.persist(() => client.models());

/** A file's answer, which may take as long as the file takes to send. */
export async function recognizeFile(file: File, model: Model, signal: AbortSignal): Promise<Answer> {
  const image = await fitted(file);
  return recognize(() => image, model, { signal, timeoutMs: timeoutFor(image.size), priority: "bulk" });
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

async function fetchAnswer(...call: Parameters<typeof fetch>): Promise<Response> {
  const response = await fetch(...call);
  const kind = response.headers.get("content-type") ?? "";
  if (response.ok && !kind.startsWith("application/grpc-web")) throw new StrangeAnswer(`an answer of ${kind || "no kind"}`);
  return response;
}
