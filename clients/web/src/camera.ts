// The view for the camera: what is in the frame is read again and again, and can be kept.

import type { Model } from "digitserve";

import { Asker } from "./ask.js";
import { button, find, make } from "./dom.js";
import { failureOf } from "./failure.js";
import { onLanguage, say } from "./language.js";
import { contextOf, PICTURE_SIDE } from "./pad.js";
import { type Answer, Panel, spoken } from "./panel.js";
import { recognize } from "./server.js";
import { greyOf } from "./sketch.js";
import type { WordKey } from "./words.js";

/** How much of the picture's shorter side the frame on the screen takes; .finder in draw.css shows the same. */
const FRAME_SHARE = 0.76;

const REFUSALS: Record<string, WordKey> = {
  NotAllowedError: "cameraRefused",
  SecurityError: "cameraRefused",
  NotReadableError: "cameraBusy",
  AbortError: "cameraBusy",
};

type Kept = (picture: ImageData, answer: Answer) => void;

export class CameraView {
  readonly #video = find("video", HTMLVideoElement);
  readonly #still = button("still");
  readonly #keptLink = make("button", "plain");
  readonly #panel = new Panel(find("camera-answer", HTMLElement), "waitingCamera");
  readonly #context: CanvasRenderingContext2D;
  readonly #asker: Asker<() => ImageData, Answer>;
  readonly #kept: Kept;
  readonly #announce: (text: string) => void;
  #model: Model | undefined;
  #stream: MediaStream | undefined;
  #state: WordKey | undefined;
  #start: symbol | undefined;
  #sent: ImageData | undefined;
  #isStill = false;

  /** `kept` is told of the pictures that the reader keeps, `showKept` leads to where they are. */
  constructor(kept: Kept, showKept: () => void, announce: (text: string) => void) {
    this.#kept = kept;
    this.#announce = announce;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = PICTURE_SIDE;
    this.#context = contextOf(canvas, { willReadFrequently: true });
    this.#asker = new Asker({
      send: (take, signal) => this.#send(take, signal),
      hear: (answer) => this.#hear(answer),
      fail: (error) => this.#fail(error),
    });
    this.#still.addEventListener("click", () => (this.#isOver ? void this.start() : this.#toggleStill()));
    this.#keptLink.type = "button";
    this.#keptLink.hidden = true;
    this.#keptLink.addEventListener("click", showKept);
    this.#still.after(this.#keptLink);
    onLanguage(() => this.#translate());
  }

  setModel(model: Model): void {
    this.#model = model;
    this.#asker.forget();
    this.#keptLink.hidden = true;
    this.#panel.setModel(model);
    if (this.#isStill) this.#readStill();
  }

  /** Asks for the camera and begins to read. */
  async start(): Promise<void> {
    const start = (this.#start = Symbol());
    this.#say("cameraStarting");
    try {
      const stream = await openCamera();
      // The reader may have gone elsewhere while the browser asked.
      if (start !== this.#start) return endStream(stream);
      this.#stream = stream;
      for (const track of stream.getTracks()) track.addEventListener("ended", () => this.#lose(stream));
      this.#video.srcObject = stream;
      await this.#video.play();
      if (start === this.#start) this.#goLive();
    } catch (error) {
      if (start === this.#start) this.#say(refusalFor((error as DOMException).name));
    }
  }

  /** Gives the camera back. */
  stop(): void {
    this.#start = undefined;
    this.#asker.forget();
    if (this.#stream) endStream(this.#stream);
    this.#stream = undefined;
    this.#video.srcObject = null;
    this.#isStill = false;
    this.#keptLink.hidden = true;
    this.#panel.show(undefined);
    this.#panel.setWaiting("waitingCamera");
    this.#translate();
  }

  #goLive(): void {
    this.#say(undefined);
    this.#watch(this.#start);
  }

  /** The camera has ended by itself. */
  #lose(stream: MediaStream): void {
    if (stream !== this.#stream) return;
    this.stop();
    this.#say("cameraEnded");
  }

  /** Whether there is no picture, and none to come by itself. */
  get #isOver(): boolean {
    return this.#state !== undefined && this.#state !== "cameraStarting";
  }

  /** Every new frame is a question; of those that come while one is on its way, the last is asked next. */
  #watch(start: symbol | undefined): void {
    const ask = () => {
      if (!start || start !== this.#start || this.#isStill) return;
      if (this.#model) this.#asker.ask(() => this.#grab());
      this.#watch(start);
    };
    // Not every browser tells of a video's frames.
    if ("requestVideoFrameCallback" in this.#video) this.#video.requestVideoFrameCallback(ask);
    else requestAnimationFrame(ask);
  }

  #send(take: () => () => ImageData, signal: AbortSignal): Promise<Answer> {
    const picture = () => {
      this.#sent = take()();
      return greyOf(this.#sent);
    };
    return recognize(picture, this.#model!, { layout: "single", signal });
  }

  #grab(): ImageData {
    const { videoWidth, videoHeight } = this.#video;
    const side = FRAME_SHARE * Math.min(videoWidth, videoHeight);
    const [left, top] = [(videoWidth - side) / 2, (videoHeight - side) / 2];
    this.#context.drawImage(this.#video, left, top, side, side, 0, 0, PICTURE_SIDE, PICTURE_SIDE);
    return this.#context.getImageData(0, 0, PICTURE_SIDE, PICTURE_SIDE);
  }

  #hear(answer: Answer): void {
    this.#panel.show(answer);
    const character = answer.recognition.characters[0];
    if (!this.#isStill || this.#asker.isWaiting || !character) return;
    this.#announce(character.label ? `${spoken(character)}. ${say("kept")}` : spoken(character));
    if (!character.label) return;
    this.#kept(this.#sent!, answer);
    this.#keptLink.hidden = false;
  }

  /** Of a picture that stays, there is no next one that would be asked by itself. */
  #fail(error: unknown): void {
    const failure = failureOf(error, this.#isStill ? () => this.#readStill() : undefined);
    this.#panel.show(failure);
    if (this.#isStill) this.#announce(failure.failure);
  }

  #readStill(): void {
    this.#panel.forgive();
    if (this.#model) this.#asker.ask(() => this.#grab());
  }

  #toggleStill(): void {
    this.#isStill = !this.#isStill;
    this.#keptLink.hidden = true;
    this.#panel.setWaiting(this.#isStill ? "waitingStill" : "waitingCamera");
    this.#translate();
    if (this.#isStill) {
      this.#video.pause();
      this.#readStill();
    } else {
      void this.#video.play();
      this.#watch(this.#start);
    }
  }

  #say(state: WordKey | undefined): void {
    this.#state = state;
    this.#translate();
  }

  #translate(): void {
    find("camera-state", HTMLElement).textContent = this.#state ? say(this.#state) : "";
    this.#still.disabled = this.#state === "cameraInsecure" || (!this.#isOver && !this.#stream);
    this.#still.textContent = say(this.#isOver ? "again" : this.#isStill ? "live" : "still");
    this.#keptLink.textContent = say("kept");
    this.#panel.translate();
  }
}

function refusalFor(name: string): WordKey {
  const isWithheld = !isSecureContext && !navigator.mediaDevices;
  return isWithheld ? "cameraInsecure" : (REFUSALS[name] ?? "cameraMissing");
}

function openCamera(): Promise<MediaStream> {
  // Browsers have no cameras at all for pages from elsewhere without TLS.
  if (!navigator.mediaDevices) return Promise.reject(new DOMException("no cameras here", "NotFoundError"));
  const video = { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 480 } };
  return navigator.mediaDevices.getUserMedia({ video });
}

function endStream(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
