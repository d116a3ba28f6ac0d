// What the browser remembers. Where it may not (private windows, no room), the page works as well, and forgets.

export function remembered(key: string): string | null {
  return read(() => localStorage, key);
}

/** Whether it will be remembered. */
export function remember(key: string, value: string): boolean {
  return write(() => localStorage, key, value);
}

/** Whether the browser remembers anything at all. */
export function canRemember(): boolean {
  return remember("trial", "1") && remembered("trial") === "1";
}

/** What this tab alone keeps, over reloads, until it is closed. */
export function keptInTab(key: string): string | null {
  return read(() => sessionStorage, key);
}

export function keepInTab(key: string, value: string): void {
  write(() => sessionStorage, key, value);
}

/** Calls when another tab remembers something else. */
export function onRemembered(key: string, changed: () => void): void {
  addEventListener("storage", (event) => {
    // All is forgotten at once where there is no key.
    if (event.key === null || event.key === `digitserve.${key}`) changed();
  });
}

// To name the storage already throws where it is forbidden.
function read(storage: () => Storage, key: string): string | null {
  try {
    return storage().getItem(`digitserve.${key}`);
  } catch {
    return null;
  }
}

function write(storage: () => Storage, key: string, value: string): boolean {
  try {
    storage().setItem(`digitserve.${key}`, value);
    return true;
  } catch {
    return false;
  }
}
