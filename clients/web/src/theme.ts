// Light, dark, or as the device has it.

import { button, find } from "./dom.js";
import { onLanguage, say } from "./language.js";
import { remember, remembered } from "./store.js";

const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

/** Lets the reader choose; `changed` is called after every change, the device's own too. */
export function startTheme(changed: () => void): void {
  const stored = remembered("theme") as Theme;
  let theme: Theme = THEMES.includes(stored) ? stored : "auto";
  const show = () => {
    document.documentElement.dataset.theme = theme;
    const name = say(`theme_${theme}`);
    const label = say("themeLabel", { theme: name });
    button("theme").title = label;
    button("theme").setAttribute("aria-label", label);
    find("theme-name", HTMLElement).textContent = name;
    find("theme-icon", SVGUseElement).setAttribute("href", `#i-${theme}`);
  };
  button("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
    remember("theme", theme);
    show();
    changed();
  });
  for (const colours of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
    matchMedia(colours).addEventListener("change", changed);
  }
  onLanguage(show);
}
