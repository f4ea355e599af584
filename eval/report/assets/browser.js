// The browser of answers: the list of instructions, the answers to one of them side by side, keys and addresses.

const CHUNK = 400; // instructions that are listed at once

class Browser {
  constructor(data, root) {
    this.data = data;
    this.root = root;
    this.prompt = null;
    this.all = false; // whether answers that do not match are shown too
    this.form = filterForm(data, new Filters(), () => this.filter());
    this.status = element("p", { role: "status", id: "browser-status" });
    this.list = element("ol", {});
    this.more = element("button", { type: "button", className: "plain", onclick: () => this.grow() }, "Show more");
    this.view = element("article", { className: "prompt", tabindex: "-1", "aria-label": "The answers to one instruction" });
    root.replaceChildren(
      this.form.node,
      this.status,
      legend(),
      element(
        "div",
        { className: "split" },
        element("nav", { className: "prompts", "aria-label": "Instructions", tabindex: "0" }, this.list, this.more),
        this.view,
      ),
    );
    root.removeAttribute("aria-busy");
    addEventListener("hashchange", () => this.follow());
    document.addEventListener("keydown", (event) => this.key(event));
    if (!this.follow()) {
      this.filter({ quiet: true });
    }
  }

  /** Show what the address names; false when it names nothing here. */
  follow() {
    const { id, model, filters } = readAddress(location.hash, (text) => this.data.byId.has(text));
    const answers = this.data.byId.get(id) ?? [];
    const answer = answers.find((each) => each.model === model) ?? answers[0];
    if (!answer && (location.hash === "" || filters.size === 0 || id !== "")) return false;
    this.form.show(Filters.read(filters, this.data));
    this.all = filters.has("all");
    this.prompt = answer?.prompt ?? null;
    this.filter({ quiet: true });
    const card = answer && model ? this.card(answer) : null;
    for (const each of this.view.querySelectorAll(".here")) each.classList.remove("here");
    card?.classList.add("here");
    const target = card ?? (answer ? this.view : this.root);
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: card ? "center" : "start" });
    return true;
  }

  /** Apply the filters: list the instructions with an answer that matches, and show the one that was shown, or the first. */
  filter({ quiet = false } = {}) {
    const matches = this.form.current.matcher();
    this.matching = new Set(this.data.answers.filter(matches));
    this.prompts = this.data.prompts.filter((prompt) => prompt.answers.some((answer) => this.matching.has(answer)));
    const { answers, prompts } = this.data;
    this.status.textContent =
      `${whole.format(this.matching.size)} of ${whole.format(answers.length)} answers, ` +
      `to ${whole.format(this.prompts.length)} of ${whole.format(prompts.length)} instructions.`;
    const asked = quiet && this.prompt; // what an address names is shown even if no answer to it matches
    if (!asked && !this.prompts.includes(this.prompt)) this.prompt = this.prompts[0] ?? null;
    this.list.replaceChildren();
    this.grow();
    this.show();
    if (!quiet) this.remember();
  }

  /** List more instructions, at least as far as the one that is shown. */
  grow() {
    const from = this.list.children.length;
    const shown = this.prompts.indexOf(this.prompt);
    const items = this.prompts.slice(from, Math.max(from + CHUNK, shown + 1)).map((prompt) => this.item(prompt));
    this.list.append(...items);
    this.more.hidden = this.list.children.length >= this.prompts.length;
  }

  item(prompt) {
    const { answers, modifier, language, task, instruction, id } = prompt;
    const matching = answers.filter((answer) => this.matching.has(answer)).length;
    const about = [language, task, modifier].filter(Boolean).join(" · ");
    return element(
      "li",
      {},
      element(
        "a",
        { href: this.address(prompt) },
        element("span", { className: "about" }, element("span", {}, about || id), element("span", { className: "amount" }, matching === answers.length ? `${matching}` : `${matching} / ${answers.length}`)),
        element("span", { className: "ask", dir: "auto" }, instruction.slice(0, 140) || id),
      ),
    );
  }

  /** Show the instruction and its answers. */
  show() {
    const { prompt } = this;
    const place = this.prompts.indexOf(prompt);
    for (const link of this.list.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
    const link = this.list.children[place]?.firstChild;
    link?.setAttribute("aria-current", "true");
    if (link) keepInView(link, this.list.parentElement);
    if (!prompt) {
      this.view.replaceChildren(element("p", { className: "nothing" }, "No answer matches all filters."));
      return;
    }
    const matching = prompt.answers.filter((answer) => this.matching.has(answer));
    const shown = this.all ? prompt.answers : matching;
    this.cards = new Map(shown.map((answer) => [answer, answerCard(answer, this.data, this.address(prompt, answer))]));
    this.view.replaceChildren(
      this.head(prompt, place),
      element(
        "p",
        { className: "shown" },
        `${whole.format(shown.length)} of ${whole.format(prompt.answers.length)} answers `,
        matching.length < prompt.answers.length
          ? element("button", { type: "button", className: "plain", onclick: () => this.toggleAll() }, this.all ? "Show only those that match" : "Show all")
          : null,
      ),
      element("div", { className: "answers" }, [...this.cards.values()]),
    );
    this.highlight();
  }

  head(prompt, place) {
    const { language, task, modifier, id, group, instruction } = prompt;
    const step = (by, label) =>
      element("button", { type: "button", onclick: () => this.step(by), disabled: !this.prompts[place + by], "aria-label": `${label} instruction` }, label);
    const related = (this.data.byGroup.get(group) ?? []).filter((other) => other !== prompt);
    const lang = isLanguage(language) ? language : null;
    return element(
      "header",
      { className: "question" },
      element(
        "div",
        { className: "line-of-facts" },
        element("span", {}, [language && languageName(language), task, modifier, id].filter(Boolean).join(" · ")),
        element("a", { className: "permalink", href: this.address(prompt), "aria-label": "Link to this instruction", title: "Link to this instruction" }, "#"),
        element("span", { className: "steps" }, step(-1, "Previous"), step(1, "Next")),
      ),
      element("h3", { dir: "auto", lang, className: instruction.length > 240 ? "long" : null }, instruction || id),
      related.length
        ? element("p", { className: "related" }, "Also: ", related.map((other) => element("a", { href: this.address(other) }, relation(prompt, other))))
        : null,
    );
  }

  card(answer) {
    if (!this.cards?.has(answer)) {
      this.all = true; // an address may name an answer that does not match
      this.show();
    }
    return this.cards.get(answer);
  }

  toggleAll() {
    this.all = !this.all;
    this.show();
    this.remember();
  }

  step(by) {
    const next = this.prompts[this.prompts.indexOf(this.prompt) + by];
    if (!next) return;
    this.prompt = next;
    if (!this.list.children[this.prompts.indexOf(next)]) this.grow();
    this.show();
    this.remember();
    this.view.focus({ preventScroll: true });
    if (this.view.getBoundingClientRect().top < 0) this.view.scrollIntoView({ block: "start" });
  }

  key(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.matches?.("input[type=search], select, textarea")) {
      if (key === "Escape") target.blur();
      return;
    }
    const section = this.root.parentElement;
    const { top, bottom } = section.getBoundingClientRect();
    const seen = top < innerHeight * 0.7 && bottom > 0;
    if (!section.contains(target) && !(target === document.body && seen)) return;
    const act = { j: () => this.step(1), k: () => this.step(-1), a: () => this.toggleAll(), "/": () => this.form.text.focus() }[key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  address(prompt, answer = null) {
    const filters = this.form.current.parameters();
    if (this.all) filters.append("all", "1");
    const first = answer ?? prompt.answers[0];
    const alone = this.data.byId.get(first.id)[0].prompt === prompt; // ids may be used twice by different models
    return writeAddress(first.id, answer || !alone ? first.model : "", filters);
  }

  /** Put what is shown into the address, without a step back for every letter that is typed. */
  remember() {
    const filters = this.form.current.parameters();
    const address = this.prompt ? this.address(this.prompt) : `#?${filters}`;
    try {
      history.replaceState(null, "", address);
    } catch {
      // a page inside another page may not change its address
    }
  }

  /** Mark what is searched for, where the browser can do so without touching the text. */
  highlight() {
    if (!globalThis.Highlight || !CSS.highlights) return;
    CSS.highlights.delete("searched");
    const needle = this.form.current.text.trim().toLowerCase();
    if (needle === "") return;
    const ranges = [];
    const walker = document.createTreeWalker(this.view, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.data.toLowerCase();
      if (text.length !== walker.currentNode.data.length) continue; // letters that grow in lower case
      for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length)) {
        const range = new Range();
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, at + needle.length);
        ranges.push(range);
      }
    }
    CSS.highlights.set("searched", new Highlight(...ranges));
  }
}

/** What the marks in the answers mean. */
function legend() {
  const word = (kind, says) => element("span", {}, element("mark", { className: kind }, says));
  const line = (kind, says) => element("span", { className: `line ${kind}` }, says);
  return element(
    "p",
    { className: "legend" },
    word("foreign", "word of another language"),
    word("nonword", "word of no dictionary"),
    word("name", "name"),
    line("other", "line in another language"),
    line("unsure", "line in no language for sure"),
  );
}

/** What another form of an instruction is beside this one. */
function relation(prompt, other) {
  const parts = [];
  if (other.language !== prompt.language) parts.push(languageName(other.language) || "no language");
  if (other.modifier !== prompt.modifier) parts.push(other.modifier || "without modifier");
  return parts.join(", ") || other.id;
}

/** Scroll a list, and not the page, so that an item can be seen. */
function keepInView(item, list) {
  const top = item.getBoundingClientRect().top - list.getBoundingClientRect().top;
  if (top < 0 || top > list.clientHeight - item.clientHeight) list.scrollTop += top - list.clientHeight / 3;
}

const contents = document.querySelector("body > .columns > nav details");
if (matchMedia("(max-width: 68rem)").matches) contents.open = false;

// Paper cannot be opened: tables that are folded are unfolded before printing.
const opened = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll(".table > details:not([open])")) {
    details.open = true;
    opened.push(details);
  }
});
addEventListener("afterprint", () => {
  for (const details of opened.splice(0)) details.open = false;
});

if (document.getElementById("answers")) {
  const root = document.getElementById("browser");
  if (globalThis.DecompressionStream) {
    new Browser(await readAnswers(), root);
  } else {
    root.textContent = "This browser is too old to read the answers; any browser of 2023 or later can.";
    root.removeAttribute("aria-busy");
  }
}
