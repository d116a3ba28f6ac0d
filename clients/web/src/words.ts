// Every text of the page, in each of its languages. `{name}` is filled in.

const en = {
  language: "中文",
  languageLabel: "用中文显示",
  model: "Model",
  ways: "Ways to give a picture",
  draw: "Draw",
  camera: "Camera",
  files: "Files",
  history: "History",
  theme_auto: "Auto",
  theme_light: "Light",
  theme_dark: "Dark",
  themeLabel: "Colours: {theme}",

  pad: "Drawing pad",
  padRole: "drawing pad",
  invitation: "Draw here",
  tools: "Drawing tools",
  pen: "Pen (P)",
  eraser: "Eraser (E)",
  width: "Pen width ([ and ])",
  undo: "Undo (Ctrl+Z)",
  redo: "Redo (Ctrl+Y)",
  clear: "Clear (Delete)",
  keys:
    "Keys on the pad: arrows move the pen, Space puts it down and lifts it. " +
    "P pen, E eraser, [ ] width, Z undo, Y redo, Delete clears, W shows why.",
  penDown: "Pen down",
  penUp: "Pen up",

  waiting: "The answer comes while you draw.",
  waitingCamera: "Hold a character into the frame.",
  sure: "{percent} sure.",
  unsure: "Not sure. Perhaps {label} ({percent}), perhaps {other} ({otherPercent}).",
  unsureAlone: "Not sure. Perhaps {label} ({percent}).",
  noCharacter: "There is no character here.",
  spokenSure: "{label}, {percent}",
  times: "{roundTrip} ms round trip · {queue} ms queue · {compute} ms compute",
  bars: "Probability of each character",

  why: "Show why",
  frame: "What the network saw",
  frameCaption: "What the network saw",
  speaksFor: "speaks for {label}",
  speaksAgainst: "speaks against {label}",

  offline: "You are offline. This goes on by itself when the network is back.",
  away: "The server is away. This goes on by itself when it is back.",
  busy: "The server is busy. Your drawing waits its turn.",
  refused: "No answer: {reason}",

  choose: "Choose images",
  dropHint: "or drop them anywhere on this page, or paste one",
  results: "Results",
  picture: "Picture",
  file: "File",
  answer: "Answer",
  probability: "Probability",
  note: "Note",
  noteUnsure: "not sure, perhaps {other}",
  noteBlank: "no character",
  noteFailed: "can't be read",
  progress: "{done} of {all} read",
  csv: "Download as CSV",
  empty: "Empty the list",
  pasted: "pasted picture",

  video: "Camera picture",
  still: "Keep this one",
  live: "Go on",
  cameraHint: "Pictures go to this page's own server only, and are not kept there.",
  cameraStarting: "The browser asks whether this page may use the camera.",
  cameraRefused:
    "No camera without your permission. You can allow it in the address bar; drawing and files work without it.",
  cameraMissing: "There is no camera here. Drawing and files work without it.",
  cameraBusy: "The camera is in use elsewhere. Close what uses it, then come back to this view.",

  corrected: "{count} corrected",
  zip: "Download the corrections",
  forget: "Forget all",
  nothing: "Nothing yet. What you draw appears here.",
  historyHint:
    "This list stays in your browser. Unpack the download and train with it: python -m train --extra folder:{folder}",
  card: "{label}, {percent}, {model}",
  cardUnsure: "{label}, not sure",
  rightLabel: "Right is",
};

export type WordKey = keyof typeof en;
export type Words = Readonly<Record<WordKey, string>>;

const zh: Words = {
  language: "English",
  languageLabel: "Show in English",
  model: "模型",
  ways: "输入方式",
  draw: "手写",
  camera: "摄像头",
  files: "图片",
  history: "记录",
  theme_auto: "自动",
  theme_light: "浅色",
  theme_dark: "深色",
  themeLabel: "配色：{theme}",

  pad: "手写板",
  padRole: "手写板",
  invitation: "写在这里",
  tools: "书写工具",
  pen: "笔（P）",
  eraser: "橡皮（E）",
  width: "笔画粗细（[ 和 ]）",
  undo: "撤销（Ctrl+Z）",
  redo: "重做（Ctrl+Y）",
  clear: "清空（Delete）",
  keys: "键盘：方向键移动，空格落笔或提笔；P 笔，E 橡皮，[ ] 粗细，Z 撤销，Y 重做，Delete 清空，W 查看依据。",
  penDown: "落笔",
  penUp: "提笔",

  waiting: "边写边识别。",
  waitingCamera: "把一个字放进取景框。",
  sure: "把握 {percent}。",
  unsure: "不太确定：可能是 {label}（{percent}），也可能是 {other}（{otherPercent}）。",
  unsureAlone: "不太确定：可能是 {label}（{percent}）。",
  noCharacter: "这里没有字。",
  spokenSure: "{label}，{percent}",
  times: "往返 {roundTrip} 毫秒 · 排队 {queue} 毫秒 · 计算 {compute} 毫秒",
  bars: "每个字的概率",

  why: "查看依据",
  frame: "网络看到的图像",
  frameCaption: "网络看到的图像",
  speaksFor: "支持 {label}",
  speaksAgainst: "反对 {label}",

  offline: "网络已断开，恢复后会自动继续。",
  away: "服务器暂时不在，恢复后会自动继续。",
  busy: "服务器正忙，您的手写正在等候。",
  refused: "没有结果：{reason}",

  choose: "选择图片",
  dropHint: "也可以拖到页面任意处，或直接粘贴",
  results: "识别结果",
  picture: "图片",
  file: "文件",
  answer: "结果",
  probability: "概率",
  note: "说明",
  noteUnsure: "不太确定，也可能是 {other}",
  noteBlank: "没有字",
  noteFailed: "无法读取",
  progress: "已识别 {done} / {all}",
  csv: "下载 CSV",
  empty: "清空列表",
  pasted: "粘贴的图片",

  video: "摄像头画面",
  still: "定格",
  live: "继续",
  cameraHint: "画面只发往本页面自己的服务器，不会保存。",
  cameraStarting: "浏览器正在询问是否允许使用摄像头。",
  cameraRefused: "没有权限，无法使用摄像头。可在地址栏中允许；手写和图片不受影响。",
  cameraMissing: "没有找到摄像头。手写和图片不受影响。",
  cameraBusy: "摄像头正被其他程序使用。请关闭该程序后再回到这里。",

  corrected: "已更正 {count} 个",
  zip: "下载更正",
  forget: "全部忘记",
  nothing: "还没有记录。写下的字会出现在这里。",
  historyHint: "记录只保存在您的浏览器里。解压下载的文件即可用于训练：python -m train --extra folder:{folder}",
  card: "{label}，{percent}，{model}",
  cardUnsure: "{label}，不太确定",
  rightLabel: "正确的是",
};

export const WORDS = { en, zh } satisfies Record<string, Words>;
export type Language = keyof typeof WORDS;

/** Fills `{name}` in a text. */
export function fill(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** The first of the reader's languages that there is; English if none is. */
export function languageFor(preferred: readonly string[]): Language {
  for (const tag of preferred) {
    const name = tag.toLowerCase().split("-")[0]!;
    if (name in WORDS) return name as Language;
  }
  return "en";
}
