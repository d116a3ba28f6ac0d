// What the browser remembers. Where it may not (private windows, no room), the page works as well, and forgets.

export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(`digitserve.${key}`);
  } catch {
    return null;
  }
}

/** Whether it will be remembered. */
export function remember(key: string, value: string): boolean {
  try {
    localStorage.setItem(`digitserve.${key}`, value);
    return true;
  } catch {
    return false;
  }
}

/** Calls when another tab remembers something else. */
export function onRemembered(key: string, changed: () => void): void {
  addEventListener("storage", (event) => {
    // All is forgotten at once where there is no key.
    if (event.key === null || event.key === `digitserve.${key}`) changed();
  });
}
