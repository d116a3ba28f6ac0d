// Puts the page together. Each view knows its own part; what they share is here.

import type { Model } from "digitserve";

import { CameraView } from "./camera.js";
import { find } from "./dom.js";
import { DrawView } from "./draw.js";
import { FilesView } from "./files.js";
import { HistoryView } from "./history.js";
import { onLanguage, say, startLanguage } from "./language.js";
import { Models } from "./models.js";
import { link, listModels, surprises } from "./server.js";
import { Tabs } from "./tabs.js";
import { startTheme } from "./theme.js";

const spokenText = find("spoken", HTMLElement);
const announce = (text: string) => (spokenText.textContent = text);

startLanguage();
const tabs = new Tabs();
const models = new Models();
const history = new HistoryView((name) => models.named(name));
const draw = new DrawView((picture, answer) => history.keep(picture, answer), () => history.endDrawing(), announce);
const camera = new CameraView((picture, answer) => history.keepStill(picture, answer), () => tabs.show("history"), announce);
const files = new FilesView(() => tabs.show("files"));
startTheme(() => draw.redraw());

models.chosen = (model: Model) => {
  for (const view of [draw, camera, files]) view.setModel(model);
};

tabs.changed = (view, before) => {
  if (before === "camera") camera.stop();
  if (view === "camera") void camera.start();
  if (view === "history") history.show();
};

// A page that nobody sees needs no camera.
document.addEventListener("visibilitychange", () => {
  if (tabs.shown !== "camera") return;
  if (document.hidden) camera.stop();
  else void camera.start();
});

const showState = () => {
  find("state", HTMLElement).textContent = link.state === "well" ? "" : say(link.state);
  draw.setLink(link.state);
};
let wasAway = false;
link.changed = (state) => {
  showState();
  // A server that came back may serve other models.
  if (state === "well" && wasAway) void updateModels();
  wasAway = state === "away" || state === "strange";
};
onLanguage(showState);
surprises.modelGone = () => void updateModels();

async function updateModels(): Promise<void> {
  try {
    models.set(await listModels());
  } catch (error) {
    return draw.fail(error, () => void updateModels());
  }
  history.show(); // what a picture may be, and how to train, are the models' to say
}

tabs.start();
await updateModels();
