// The response: as text in which passages can be marked, or with its Markdown rendered.

const LONG = 4000; // characters after which a phone shows a text in a window of its own

/** A text with its marked passages; positions count UTF-16 code units, as those of the DOM do. */
function markedText(text, spans) {
  const ends = [...new Set([0, text.length, ...spans.flatMap(({ start, end }) => [start, end])])].sort((a, b) => a - b);
  return ends.slice(1).map((end, at) => {
    const part = text.slice(ends[at], end);
    const here = spans.filter((span) => span.start <= ends[at] && span.end >= end);
    if (here.length === 0) return part;
    const severity = here.some((span) => span.severity === "major") ? "major" : "minor";
    return element("mark", { className: `${severity} ${here.map((span) => span.criterion).join(" ")}` }, part);
  });
}

/** Where the words of a text begin and end. */
function wordsOf(text, language) {
  if (globalThis.Intl?.Segmenter) {
    let segments = new Intl.Segmenter(undefined, { granularity: "word" });
    try {
      segments = new Intl.Segmenter(language, { granularity: "word" });
    } catch {
      // the code of a language that browsers do not know
    }
    return Array.from(segments.segment(text)).filter(({ isWordLike }) => isWordLike).map(({ index, segment }) => [index, index + segment.length]);
  }
  return Array.from(text.matchAll(/[\p{L}\p{M}\p{N}]+/gu), ({ index, 0: word }) => [index, index + word.length]);
}

class Passages {
  /** "onchange" gets the spans after each change. */
  constructor(data, onchange) {
    this.data = data;
    this.onchange = onchange;
    this.criteria = data.criteria.filter(({ marked }) => marked);
    this.selected = null; // [start, end] of the last selection in the text
    const { words } = data;
    this.node = element("div", { className: "response-text", dir: "auto", lang: data.lang, tabindex: "0", role: "group", "aria-label": words.answer });
    this.node.addEventListener("keydown", (event) => this.key(event));
    this.buttons = this.criteria.map(({ name, title }) =>
      element(
        "div",
        { className: "mark-buttons", role: "group", "aria-label": title },
        element("span", { className: `name ${name}` }, title),
        data.severities.map((severity) => element("button", { type: "button", className: severity, onclick: () => this.mark(name, severity), disabled: true }, words[severity])),
      ),
    );
    this.list = element("ul", { className: "passages" });
    this.bar = element(
      "section",
      { className: "marking", "aria-label": words.mark },
      element("details", { className: "help" }, element("summary", {}, words.mark), element("p", {}, words.mark_help)),
      element("div", { className: "mark-bar" }, this.buttons),
      this.list,
    );
    this.hint = element("p", { className: "muted", hidden: true }, words.mark_in_text);
    document.addEventListener("selectionchange", () => this.follow());
  }

  /** Show a response and its marked passages. */
  show(text, spans, { markdown }) {
    this.text = text;
    this.spans = spans;
    this.markdown = markdown;
    this.words = null;
    this.word = -1;
    this.draw();
  }

  draw() {
    const { text, markdown } = this;
    const empty = text.trim() === "";
    this.node.classList.toggle("markdown", markdown && !empty);
    this.node.classList.toggle("long", text.length > LONG);
    if (empty) this.node.replaceChildren(element("p", { className: "muted" }, this.data.words.empty));
    else this.node.replaceChildren(...(markdown ? markdownBlocks(text) : markedText(text, this.spans)));
    const none = this.criteria.length === 0 || empty;
    this.bar.hidden = none || markdown;
    this.hint.hidden = none || !markdown;
    this.select(null);
    this.list.replaceChildren(...this.spans.map((span) => this.entry(span)));
  }

  entry(span) {
    const { words } = this.data;
    const { title } = this.criteria.find(({ name }) => name === span.criterion) ?? { title: span.criterion };
    const passage = this.text.slice(span.start, span.end);
    const short = passage.length > 80 ? `${passage.slice(0, 80)}…` : passage;
    const remove = () => {
      this.change(this.spans.filter((each) => each !== span));
      this.node.focus({ preventScroll: true });
    };
    return element(
      "li",
      {},
      element("span", { className: `name ${span.criterion}` }, `${title}, ${words[span.severity]}: `),
      element("bdi", { lang: this.data.lang }, short),
      " ",
      element("button", { type: "button", className: "plain", onclick: remove, "aria-label": `${words.remove}: ${short}` }, words.remove),
    );
  }

  /** Take over what is selected in the text. */
  follow() {
    if (this.markdown || !this.node.isConnected) return;
    const selection = getSelection();
    if (selection.rangeCount === 0) return;
    const range = selection.getRangeAt(0);
    if (!this.node.contains(range.startContainer)) return; // one elsewhere leaves the last one here as it is
    const before = document.createRange();
    before.setStart(this.node, 0);
    before.setEnd(range.startContainer, range.startOffset);
    const start = before.toString().length;
    // A click for a whole paragraph selects up to what comes behind it.
    const end = this.node.contains(range.endContainer) ? start + range.toString().length : this.text.length;
    this.select(end > start ? [start, end] : null);
  }

  select(range) {
    this.selected = range;
    for (const button of this.bar.querySelectorAll(".mark-bar button")) button.disabled = range === null;
  }

  mark(criterion, severity) {
    if (!this.selected) return;
    const [start, end] = this.selected;
    const others = this.spans.filter((span) => !(span.criterion === criterion && span.start === start && span.end === end));
    const spans = [...others, { start, end, severity, criterion }];
    spans.sort((one, other) => one.start - other.start || one.end - other.end);
    getSelection().removeAllRanges();
    this.change(spans);
    this.node.focus({ preventScroll: true });
  }

  change(spans) {
    this.spans = spans;
    this.draw();
    this.onchange(spans);
  }

  /** Arrow keys choose words; with Shift the passage grows or shrinks at its end. */
  key(event) {
    const forward = getComputedStyle(this.node).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    if (this.markdown || !["ArrowLeft", "ArrowRight"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    this.words ??= wordsOf(this.text, this.data.language);
    if (this.words.length === 0) return;
    event.preventDefault();
    const by = event.key === forward ? 1 : -1;
    const last = this.words.length - 1;
    if (event.shiftKey && this.selected) {
      this.until = Math.max(this.word, Math.min(last, this.until + by));
    } else {
      // The first step begins at a passage that was selected with the mouse.
      if (this.word < 0 && this.selected) this.word = this.words.findIndex(([, end]) => end > this.selected[0]) - (by > 0 ? 1 : 0);
      this.word = Math.max(0, Math.min(last, this.word + by));
      this.until = this.word;
    }
    this.choose(this.words[this.word][0], this.words[this.until][1]);
  }

  /** Select a passage of the text. */
  choose(start, end) {
    const [from, to] = [this.position(start), this.position(end)];
    getSelection().setBaseAndExtent(...from, ...to);
    const range = getSelection().getRangeAt(0);
    const { top, bottom } = range.getBoundingClientRect();
    if (top < 80 || bottom > innerHeight - 80) scrollBy({ top: top - innerHeight / 2 });
    this.select([start, end]);
  }

  position(offset) {
    const walker = document.createTreeWalker(this.node, NodeFilter.SHOW_TEXT);
    let left = offset;
    while (walker.nextNode()) {
      if (left <= walker.currentNode.length) return [walker.currentNode, left];
      left -= walker.currentNode.length;
    }
    return [this.node, this.node.childNodes.length];
  }
}
