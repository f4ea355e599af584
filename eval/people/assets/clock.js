// The time that is worked on an item. Only the time between two signs of life counts, and of a long pause only a minute.

const LONGEST_PAUSE = 60_000; // milliseconds
const SIGNS = ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "input", "focus"];

class Clock {
  constructor() {
    this.spent = 0;
    this.last = document.hidden ? null : performance.now();
    for (const sign of SIGNS) addEventListener(sign, () => this.tick(), { capture: true, passive: true });
    document.addEventListener("visibilitychange", () => {
      this.tick();
      this.last = document.hidden ? null : performance.now();
    });
  }

  /** Count the time since the last sign of life. */
  tick() {
    if (this.last === null) return;
    const now = performance.now();
    this.spent += Math.min(now - this.last, LONGEST_PAUSE);
    this.last = now;
  }

  /** The milliseconds since the last call. */
  take() {
    this.tick();
    const { spent } = this;
    this.spent = 0;
    return spent;
  }

  /** The milliseconds that have not been taken, with those since the last sign of life. */
  get open() {
    return this.spent + (this.last === null ? 0 : Math.min(performance.now() - this.last, LONGEST_PAUSE));
  }
}

/** Minutes and seconds, such as 1:05. */
function readableTime(ms) {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
