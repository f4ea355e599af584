// The sheet: one item at a time, made when it is shown; keys; what is kept; and the lines that remind and warn.

const REMIND_AFTER = 25; // items rated since the last export

class Sheet {
  constructor(data) {
    this.data = data;
    data.lang = data.language;
    this.total = data.items.length;
    this.store = new SheetStorage(data.sheet);
    this.ratings = data.items.map(([id], place) => this.kept(id, place));
    this.done = this.ratings.filter((rating) => isDone(rating, data.criteria)).length;
    this.place = Math.min(this.total - 1, Math.max(0, Number(this.store.get("place")) || 0));
    this.markdown = this.store.get("view") === "markdown";
    this.keysOn = this.store.get("keys") !== "off";
    this.unexported = new Set((this.store.get("unexported") ?? "").split(" ").filter(Boolean));
    this.clock = new Clock();
    this.build();
    this.store.onproblem = () => this.warn();
    this.store.ontab = (open) => this.notices.tab.toggle(open);
    this.store.onchange = (name, value) => this.adopt(name, value);
    this.store.listen();
    this.show(this.place, { focus: false });
    document.addEventListener("keydown", (event) => this.key(event));
    setInterval(() => this.showTime(), 1000);
    document.addEventListener("visibilitychange", () => document.hidden && this.keepTime());
    addEventListener("pagehide", () => this.keepTime());
    addEventListener("beforeunload", (event) => {
      this.keepTime();
      if (this.store.losing && this.unexported.size) event.preventDefault();
    });
  }

  get rating() {
    return this.ratings[this.place];
  }

  /** What the browser has kept of an item. */
  kept(id, place) {
    try {
      return this.checked(JSON.parse(this.store.get(`item/${id}`)), place);
    } catch {
      return emptyRating(); // nothing, or not ours
    }
  }

  checked(rating, place) {
    const { criteria, cannotJudge, severities, items } = this.data;
    return checkedRating(rating, criteria, cannotJudge, severities, items[place][2].length);
  }

  build() {
    const { words, language, annotator } = this.data;
    const button = (label, act, properties = {}) => element("button", { type: "button", onclick: act, ...properties }, label);
    let named = language;
    try {
      named = new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(language);
    } catch {
      // a code that the browser has no name for
    }
    document.title = fill(words.sheet_title, { language: named, annotator });
    this.heading = element("h1", { tabindex: "-1" });
    this.bar = element("progress", { max: this.total, "aria-label": words.scales });
    this.count = element("span");
    this.notices = {
      storage: this.notice("wrong", true),
      tab: this.notice("wrong", false),
      remind: this.notice("note", false, button(words.export, () => this.export())),
    };
    this.remindAt = REMIND_AFTER;
    this.notices.remind.onhide = () => (this.remindAt = this.unexported.size + REMIND_AFTER);
    this.notices.tab.text.textContent = words.other_tab;
    this.instruction = element("div", { className: "instruction-text", dir: "auto", lang: language });
    this.passages = new Passages(this.data, (spans) => this.change({ spans }));
    const view = (markdown, label) => {
      const input = element("input", { type: "radio", name: "view", checked: this.markdown === markdown });
      input.addEventListener("change", () => this.setView(markdown));
      return element("label", {}, input, element("span", {}, label));
    };
    this.views = [view(false, words.as_text), view(true, words.as_markdown)];
    this.scales = new Scales(this.data, (name, score) => this.rate(name, score));
    this.comment = element("textarea", { rows: 2, dir: "auto", id: "comment" });
    this.comment.addEventListener("input", () => this.change({ comment: wellFormed(this.comment.value) }));
    this.comment.addEventListener("keydown", ({ key }) => key === "Escape" && this.heading.focus({ preventScroll: true }));
    this.time = element("p", { className: "muted time" });
    this.status = element("p", { role: "status", className: "unseen" });
    this.before = button(words.previous, () => this.go(-1));
    this.after = button(words.next, () => this.go(1), { className: "main" });
    this.open = button(words.next_open, () => this.goOpen());
    document.body.prepend(
      element(
        "header",
        { className: "bar" },
        element("p", { className: "name" }, document.title),
        element("button", { type: "button", className: "progress", onclick: () => overviewDialog(this), "aria-haspopup": "dialog" }, element("span", { className: "unseen" }, `${words.items}: `), this.count, this.bar),
        element(
          "div",
          { className: "menu" },
          button(words.guideline, () => guidelineDialog(this.data)),
          button(words.keys, () => keysDialog(this), { className: "for-keyboards" }),
          button(words.import, () => this.import()),
          button(words.export, () => this.export()),
        ),
      ),
      ...Object.values(this.notices).map(({ node }) => node),
      element(
        "main",
        {},
        element(
          "div",
          { className: "reading" },
          element("div", { className: "line" }, this.heading, this.time),
          element("section", { "aria-label": words.instruction }, element("h2", {}, words.instruction), this.instruction),
          element(
            "section",
            { "aria-label": words.answer },
            element("div", { className: "line" }, element("h2", {}, words.answer), element("div", { className: "view", role: "radiogroup", "aria-label": words.show_as }, this.views)),
            this.passages.node,
            this.passages.hint,
            this.passages.bar,
          ),
        ),
        element(
          "div",
          { className: "rating" },
          element("h2", { className: "unseen" }, words.scales),
          this.scales.node,
          element("label", { className: "comment", for: "comment" }, words.comment),
          this.comment,
          element("nav", { className: "steps", "aria-label": words.items }, this.before, this.open, this.after),
          this.status,
        ),
      ),
    );
  }

  /** A line at the top that can be shown and, unless it stays, hidden. */
  notice(kind, stays, ...content) {
    const text = element("span");
    const hide = element("button", { type: "button", className: "plain", onclick: () => [made.toggle(false), made.onhide()] }, this.data.words.dismiss);
    const node = element("div", { className: `notice ${kind}`, role: kind === "wrong" ? "alert" : "status", hidden: true }, text, content, stays ? null : hide);
    const made = { node, text, toggle: (shown) => (node.hidden = !shown), onhide: () => {} };
    return made;
  }

  // --- What is shown ---

  show(place, { focus = true } = {}) {
    this.keepTime();
    this.place = place;
    this.store.set("place", String(place));
    this.draw();
    if (!focus) return;
    this.heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  draw() {
    const { place } = this;
    const { words, items, instructions } = this.data;
    const [, instruction, text] = items[place];
    this.heading.textContent = fill(words.place, { place: place + 1, total: this.total });
    this.instruction.textContent = instructions[instruction];
    this.passages.show(text, this.rating.spans, { markdown: this.markdown });
    this.scales.show(this.rating.scores);
    this.comment.value = this.rating.comment;
    this.before.disabled = place === 0;
    this.after.disabled = place === this.total - 1;
    this.showProgress();
    this.showTime();
  }

  showProgress() {
    const { words } = this.data;
    this.bar.value = this.done;
    this.count.textContent = fill(words.rated, { done: this.done, total: this.total });
    this.open.disabled = this.done === this.total;
    this.remind();
  }

  /** Remind of the export after a while, and at the end; a reminder that was hidden comes again after as long a while. */
  remind() {
    const { words } = this.data;
    const { text, toggle } = this.notices.remind;
    const count = this.unexported.size;
    if (count === 0) this.remindAt = REMIND_AFTER;
    const finished = this.done === this.total && count > 0 && this.remindAt <= Math.max(count, REMIND_AFTER);
    text.textContent = finished ? words.finished : fill(words.reminder, { count });
    toggle(finished || count >= this.remindAt);
  }

  showTime() {
    this.time.textContent = fill(this.data.words.time, { time: readableTime(this.rating.ms + this.clock.open) });
  }

  setView(markdown) {
    this.markdown = markdown;
    this.store.set("view", markdown ? "markdown" : "text");
    this.views.forEach((label, at) => (label.firstChild.checked = markdown === (at === 1)));
    this.passages.show(this.data.items[this.place][2], this.rating.spans, { markdown });
  }

  warn() {
    const { problem } = this.store;
    const { text, toggle } = this.notices.storage;
    text.textContent = { none: this.data.words.no_storage, full: this.data.words.full_storage }[problem] ?? "";
    toggle(problem !== "");
  }

  // --- What changes ---

  rate(name, score) {
    const scores = { ...this.rating.scores };
    if (score === undefined) delete scores[name];
    else scores[name] = score;
    this.change({ scores });
    this.scales.update(scores);
    const { title } = this.data.criteria.find((each) => each.name === name);
    this.status.textContent = `${title}: ${score === undefined ? "" : score === this.data.cannotJudge ? this.data.words.cannot_judge : score}`;
  }

  change(values) {
    this.replace(this.place, { ...this.rating, ...values });
    this.keepTime();
    this.keep(this.place);
    const [id] = this.data.items[this.place];
    this.unexported.add(id);
    this.store.set("unexported", [...this.unexported].join(" "));
    this.showProgress();
  }

  replace(place, rating) {
    const { criteria } = this.data;
    this.done += Number(isDone(rating, criteria)) - Number(isDone(this.ratings[place], criteria));
    this.ratings[place] = rating;
  }

  keep(place) {
    this.store.set(`item/${this.data.items[place][0]}`, JSON.stringify(this.ratings[place]));
  }

  /** Add the time that was worked on the item. */
  keepTime() {
    const spent = this.clock.take();
    if (spent === 0) return;
    this.rating.ms += spent;
    if (!isEmpty(this.rating)) this.keep(this.place);
  }

  /** Take over what another tab has written. */
  adopt(name, value) {
    if (!name.startsWith("item/")) return;
    const place = this.data.items.findIndex(([id]) => `item/${id}` === name);
    if (place < 0) return;
    try {
      this.replace(place, this.checked(JSON.parse(value), place));
    } catch {
      return;
    }
    if (place === this.place) this.draw();
    else this.showProgress();
  }

  // --- Ways ---

  go(by) {
    const place = this.place + by;
    if (place >= 0 && place < this.total) this.show(place);
  }

  /** The next item that is not rated on every criterion, around the end. */
  goOpen() {
    for (let step = 1; step <= this.total; step += 1) {
      const place = (this.place + step) % this.total;
      if (!isDone(this.ratings[place], this.data.criteria)) {
        this.show(place);
        return;
      }
    }
  }

  key(event) {
    const { target, key } = event;
    if (!this.keysOn || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target.matches?.("textarea, select, input[type=number], input[type=file]")) return;
    if (key === "Enter" && target.matches?.("button, summary, a")) return;
    // By the letter on the key where it is a Latin one, else by its place: so the keys are the same in every script.
    const code = /^(?:Key|Digit|Numpad)(\w)$/.exec(event.code)?.[1].toLowerCase();
    const name = key === "?" || key.length > 1 || /^[a-z0-9]$/i.test(key) ? key.toLowerCase() : code;
    const act = {
      enter: () => this.go(1),
      j: () => this.go(1),
      k: () => this.go(-1),
      u: () => this.goOpen(),
      x: () => this.byKey(this.data.cannotJudge),
      backspace: () => this.byKey(undefined),
      delete: () => this.byKey(undefined),
      c: () => this.comment.focus(),
      s: () => this.startMarking(),
      t: () => this.setView(!this.markdown),
      g: () => guidelineDialog(this.data),
      e: () => this.export(),
      h: () => keysDialog(this),
      "?": () => keysDialog(this),
    }[name] ?? (/^\d$/.test(name ?? "") ? () => this.byKey(Number(name)) : null);
    if (!act) return;
    event.preventDefault();
    act();
  }

  byKey(score) {
    if (!this.scales.rate(score) || !isDone(this.rating, this.data.criteria)) return;
    // All is rated: the button that leads on is the next thing.
    (this.after.disabled ? this.heading : this.after).focus({ preventScroll: true });
  }

  startMarking() {
    if (this.markdown) this.setView(false);
    this.passages.node.focus();
    this.passages.node.scrollIntoView({ block: "nearest" });
  }

  // --- Files ---

  export() {
    this.keepTime();
    exportDialog(this.data, exportedRecords(this.data, (place) => this.ratings[place]), () => {
      this.unexported.clear();
      this.store.set("unexported", "");
      this.showProgress();
    });
  }

  import() {
    const compare = (ratings) => {
      const [fresh, different] = [new Map(), new Map()];
      for (const [place, rating] of ratings) {
        const mine = this.ratings[place];
        if (isEmpty(mine)) fresh.set(place, rating);
        else if (!saysTheSame(mine, rating, this.data.criteria)) different.set(place, rating);
      }
      return { fresh, different };
    };
    const take = (ratings) => {
      this.keepTime();
      for (const [place, rating] of ratings) {
        this.replace(place, rating);
        this.keep(place);
      }
      this.show(this.place, { focus: false });
    };
    importDialog(this.data, compare, take);
  }
}

/** A text without halves of letters and null characters, which not every file holds. */
function wellFormed(text) {
  const whole = /[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g;
  return text.replaceAll("\0", "").replace(whole, (found) => (found.length === 2 ? found : "\ufffd"));
}

const holder = document.getElementById("sheet-data");
const sheetData = JSON.parse(holder.textContent);
holder.remove();
new Sheet(sheetData);
