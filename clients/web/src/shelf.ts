// The list of records in the browser's own store, which all tabs of the page share.

import { fewer, parseRecords, type Records } from "./records.js";
import { canRemember, onRemembered, remember, remembered } from "./store.js";

const KEY = "history";

export class Shelf {
  /** Called after every change, also by another tab. */
  changed = () => {};
  #records = parseRecords(remembered(KEY));
  #isStored = canRemember();

  constructor() {
    onRemembered(KEY, () => {
      this.#records = this.#latest();
      this.changed();
    });
  }

  get records(): Records {
    return this.#records;
  }

  /** Whether the list outlives the page. */
  get isStored(): boolean {
    return this.#isStored;
  }

  /** Changes what is there now: another tab may have written since. */
  change(change: (records: Records) => Records): void {
    this.#records = this.#store(change(this.#latest()));
    this.changed();
  }

  #latest(): Records {
    return this.#isStored ? parseRecords(remembered(KEY)) : this.#records;
  }

  /** Where the browser has no room for all, the oldest go; where there is none even then, the tab alone remembers. */
  #store(records: Records): Records {
    for (let kept = records; ; ) {
      this.#isStored = remember(KEY, JSON.stringify(kept));
      if (this.#isStored) return kept;
      const rest = fewer(kept, kept.length - 1);
      if (rest === kept || !rest.length) return records;
      kept = rest;
    }
  }
}
