// Light, dark, or as the device has it.

import { button } from "./dom.js";
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
    button("theme").textContent = name;
    button("theme").title = say("themeLabel", { theme: name });
    button("theme").setAttribute("aria-label", say("themeLabel", { theme: name }));
  };
  button("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
    remember("theme", theme);
    show();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  onLanguage(show);
}
