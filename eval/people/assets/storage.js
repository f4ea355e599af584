// What the browser keeps: one entry per item, so that a rating is written in no time, and signs of life of other tabs.

/** The entries of one sheet. What cannot be written is kept in memory and tried again with the next entry. */
class SheetStorage {
  constructor(sheet) {
    this.prefix = `xltjax-sheet/${sheet}/`;
    this.waiting = new Map();
    this.problem = ""; // "none" where nothing can be kept, "full" where the room has run out
    this.onproblem = () => {};
    this.onchange = () => {};
    this.ontab = () => {};
    this.tab = String(Math.random());
  }

  get(key) {
    try {
      return this.waiting.get(key) ?? localStorage.getItem(this.prefix + key);
    } catch {
      return null;
    }
  }

  set(key, value) {
    this.waiting.set(key, value);
    let problem = "";
    for (const [each, text] of this.waiting) {
      try {
        localStorage.setItem(this.prefix + each, text);
        this.waiting.delete(each);
      } catch (error) {
        problem = error?.name === "QuotaExceededError" ? "full" : "none";
        break;
      }
    }
    if (problem === this.problem) return;
    this.problem = problem;
    this.onproblem();
  }

  /** Whether closing the page would lose something. */
  get losing() {
    return this.waiting.size > 0;
  }

  /** Tell other tabs of the same sheet that this one is open, and listen to them. */
  listen() {
    addEventListener("storage", ({ key, newValue }) => {
      if (!key?.startsWith(this.prefix) || newValue === null) return;
      const name = key.slice(this.prefix.length);
      if (name !== "tab") {
        this.onchange(name, newValue);
        return;
      }
      const [tab, says] = newValue.split(" ");
      if (tab === this.tab) return;
      this.ontab(says !== "bye");
      if (says === "hello") this.say("here");
    });
    addEventListener("pagehide", () => this.say("bye"));
    addEventListener("pageshow", ({ persisted }) => persisted && this.say("hello"));
    this.say("hello");
  }

  say(what) {
    this.set("tab", `${this.tab} ${what} ${Date.now()}`);
  }
}
