// One way in at a time, named in the address's fragment: a reload stays there, and Back goes to the one before.
// Tabs as the ARIA practices have them: arrows move between them, and one is in the tab order.

export type View = "draw" | "camera" | "files" | "history";

const FIRST: View = "draw";

export class Tabs {
  /** Called with the view that is shown from now on, and with the one before. */
  changed: (view: View, before: View) => void = () => {};
  #shown: View = FIRST;
  readonly #tabs = [...document.querySelectorAll<HTMLButtonElement>("[role=tab]")];

  constructor() {
    for (const [i, tab] of this.#tabs.entries()) {
      tab.addEventListener("click", () => this.show(viewOf(tab)));
      tab.addEventListener("keydown", ({ key }) => {
        const goal = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: -1 }[key];
        if (goal !== undefined) this.#go(goal);
      });
    }
    addEventListener("hashchange", () => this.#turn(this.#named()));
  }

  /** Shows what the address names. */
  start(): void {
    this.#turn(this.#named());
  }

  get shown(): View {
    return this.#shown;
  }

  show(view: View): void {
    if (view === this.#shown) return;
    // Not by the address itself: the browser would scroll.
    window.history.pushState(null, "", view === FIRST ? location.pathname + location.search : `#${view}`);
    this.#turn(view);
  }

  #named(): View {
    return this.#tabs.map(viewOf).find((view) => location.hash === `#${view}`) ?? FIRST;
  }

  #turn(view: View): void {
    if (view === this.#shown) return;
    const before = this.#shown;
    this.#shown = view;
    for (const tab of this.#tabs) {
      const isShown = viewOf(tab) === view;
      tab.ariaSelected = String(isShown);
      tab.tabIndex = isShown ? 0 : -1;
      document.getElementById(viewOf(tab))!.hidden = !isShown;
    }
    this.changed(view, before);
  }

  #go(number: number): void {
    const tab = this.#tabs.at(number % this.#tabs.length)!;
    tab.focus();
    this.show(viewOf(tab));
  }
}

function viewOf(tab: HTMLElement): View {
  return tab.getAttribute("aria-controls") as View;
}
