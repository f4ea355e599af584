// The scales: one group of choices per criterion, of which one is open and shows what its scores mean.

const MOST_CHOICES = 11; // a longer scale is a field for a number

class Scales {
  /** "onrate" gets the name of a criterion and its score, or undefined for none. */
  constructor(data, onrate) {
    this.data = data;
    this.onrate = onrate;
    this.open = 0;
    this.scores = {};
    this.groups = data.criteria.map((criterion, at) => this.group(criterion, at));
    this.node = element("div", { className: "scales" }, this.groups.map(({ node }) => node));
    this.pressed = false;
    addEventListener("pointerdown", () => (this.pressed = true), true);
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(() => (this.pressed = false)), true);
  }

  group(criterion, at) {
    const { cannotJudge, words } = this.data;
    const { name, title, question, lowest, highest, levels, examples } = criterion;
    const inputs = new Map();
    const choice = (value, mark, says, example) => {
      const input = element("input", { type: "radio", name, value: String(value), "aria-label": says ? `${mark}: ${says}` : String(mark) });
      input.addEventListener("change", () => this.onrate(name, value));
      inputs.set(value, input);
      const shown = value === cannotJudge ? "–" : String(value);
      return element(
        "label",
        { className: value === cannotJudge ? "choice none" : "choice", title: value === cannotJudge ? words.cannot_judge : null },
        input,
        element("span", { className: "number", "aria-hidden": "true" }, shown),
        element("span", { className: "says" }, value === cannotJudge ? mark : says, example ? element("span", { className: "example" }, element("span", { className: "label" }, `${words.example} `), example) : null),
      );
    };
    const scores = Array.from({ length: highest - lowest + 1 }, (_, step) => lowest + step);
    const long = scores.length > MOST_CHOICES;
    let number = null;
    if (long) {
      number = element("input", { type: "number", min: lowest, max: highest, step: 1, "aria-label": `${title} (${lowest}–${highest})` });
      number.addEventListener("input", () => number.validity.valid && this.onrate(name, number.value === "" ? undefined : number.valueAsNumber));
    }
    const described = scores.filter((score) => levels[score]).map((score) => element("li", {}, `${score}: ${levels[score]}`));
    const node = element(
      "div",
      { className: "criterion", role: "radiogroup", "aria-label": `${title}. ${question}` },
      element("h3", { className: name }, title),
      element("p", { className: "question" }, question),
      long ? element("ul", { className: "described" }, described) : null,
      element("div", { className: "choices" }, number ?? scores.map((score) => choice(score, score, levels[score], examples[score])), choice(cannotJudge, words.cannot_judge)),
    );
    // Not while a button is held down: what is opened then would move away from under the pointer.
    node.addEventListener("focusin", () => this.pressed || this.openAt(at));
    node.addEventListener("click", () => this.openAt(at));
    return { name, node, inputs, number, scores };
  }

  /** Show the scores of an item, and open the first criterion without one. */
  show(scores) {
    this.update(scores);
    const first = this.groups.findIndex(({ name }) => !(name in scores));
    this.openAt(Math.max(0, first));
  }

  update(scores) {
    this.scores = scores;
    for (const { name, node, inputs, number } of this.groups) {
      for (const [value, input] of inputs) input.checked = scores[name] === value;
      if (number && number !== document.activeElement) number.value = Number.isInteger(scores[name]) ? String(scores[name]) : "";
      node.classList.toggle("rated", name in scores);
    }
  }

  openAt(at) {
    this.open = at;
    this.groups.forEach(({ node }, place) => node.classList.toggle("open", place === at));
  }

  /** Rate the open criterion by a key, and go to the next one without a score; false where the key is no score. */
  rate(value) {
    const { name, inputs } = this.groups[this.open];
    if (value !== undefined && !inputs.has(value)) return false;
    this.onrate(name, value);
    if (value === undefined) return true;
    const order = [...this.groups.keys()].map((step) => (this.open + 1 + step) % this.groups.length);
    const next = order.find((at) => !(this.groups[at].name in this.scores));
    if (next === undefined) return true;
    this.focus(next);
    return true;
  }

  focus(at) {
    this.openAt(at);
    const { inputs, number, node } = this.groups[at];
    const checked = [...inputs.values()].find((input) => input.checked);
    (checked ?? number ?? inputs.values().next().value).focus({ preventScroll: true });
    node.scrollIntoView({ block: "nearest" });
  }
}
