// The filters: which answers are shown, the form that sets them, and their part of the address.

const CHOICES = [
  ["model", "Model", (answer) => answer.model, "models"],
  ["language", "Language", (answer) => answer.prompt.language, "languages"],
  ["task", "Task", (answer) => answer.prompt.task, "tasks"],
  ["modifier", "Modifier", (answer) => answer.prompt.modifier, "modifiers"],
];
const FLAGS = [
  ["wrong", "wrong language"],
  ["disagree", "judge against program"],
  ["cut", "cut off or failed"],
];
const WORDS = [
  ["", "any words"],
  ["unknown", "with unknown words"],
  ["foreign", "with foreign words"],
  ["nonword", "with non-words"],
  ["name", "with names"],
];

/** What holds: sets of chosen names (empty: all), flags, a kind of words, and a text. */
class Filters {
  constructor() {
    this.chosen = Object.fromEntries(CHOICES.map(([key]) => [key, new Set()]));
    this.flags = new Set();
    this.words = "";
    this.text = "";
  }

  /** Read from an address; names that no answer has are left out. */
  static read(parameters, data) {
    const filters = new Filters();
    for (const [key, , , list] of CHOICES) {
      for (const name of parameters.getAll(key)) if (data[list].includes(name)) filters.chosen[key].add(name);
    }
    for (const [key] of FLAGS) if (parameters.has(key)) filters.flags.add(key);
    const words = parameters.get("words") ?? "";
    if (WORDS.some(([key]) => key === words)) filters.words = words;
    filters.text = parameters.get("text") ?? "";
    return filters;
  }

  /** The part of an address that gives the same filters. */
  parameters() {
    const parameters = new URLSearchParams();
    for (const [key] of CHOICES) for (const name of this.chosen[key]) parameters.append(key, name);
    for (const key of this.flags) parameters.append(key, "1");
    if (this.words) parameters.append("words", this.words);
    if (this.text) parameters.append("text", this.text);
    return parameters;
  }

  get empty() {
    return this.parameters().size === 0;
  }

  /** A function that says whether an answer is to be shown. */
  matcher() {
    const needle = this.text.trim().toLowerCase();
    return (answer) =>
      CHOICES.every(([key, , value]) => this.chosen[key].size === 0 || this.chosen[key].has(value(answer))) &&
      [...this.flags].every((flag) => answer[flag]) &&
      hasWords(answer, this.words) &&
      (needle === "" || searched(answer).includes(needle));
  }
}

function hasWords(answer, kind) {
  if (kind === "") return true;
  const words = answer.words ?? {};
  return kind === "unknown" ? Object.keys(words).length > 0 : kind in words;
}

/** All that the search looks into, in lower case; kept, since it is the same at every letter that is typed. */
function searched(answer) {
  const { prompt } = answer;
  answer.searched ??= [answer.text, prompt.instruction, answer.id, ...(answer.judgments ?? []).map((it) => it.words ?? "")]
    .join("\n")
    .toLowerCase();
  return answer.searched;
}

/** The form. "changed" is called after every change; "show" puts filters from elsewhere into the form. */
function filterForm(data, filters, changed) {
  let current = filters;
  const update = () => {
    for (const part of parts) part();
    changed();
  };
  const parts = [];
  const choices = CHOICES.filter(([, , , list]) => data[list].length > 1).map((choice) =>
    choiceControl(choice, data, () => current, update, parts),
  );
  const flags = FLAGS.map(([key, label]) => {
    const count = data.answers.filter((answer) => answer[key]).length;
    const box = element("input", {
      type: "checkbox",
      name: key,
      disabled: count === 0,
      onchange: () => {
        toggle(current.flags, key, box.checked);
        update();
      },
    });
    parts.push(() => (box.checked = current.flags.has(key)));
    return element("label", { className: "flag" }, box, ` ${label} `, element("span", { className: "amount" }, whole.format(count)));
  });
  const words = element(
    "select",
    { name: "words", "aria-label": "Words", onchange: () => ((current.words = words.value), update()) },
    WORDS.map(([value, label]) => element("option", { value }, label)),
  );
  parts.push(() => (words.value = current.words));
  const text = element("input", {
    type: "search",
    name: "text",
    placeholder: "Search answers, instructions, judges  ( / )",
    "aria-label": "Search answers, instructions and the words of judges",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => ((current.text = text.value), update()), 150);
    },
  });
  let waiting = 0;
  parts.push(() => {
    if (text.value !== current.text) text.value = current.text;
  });
  const clear = element(
    "button",
    {
      type: "button",
      className: "plain",
      onclick: () => {
        current = new Filters();
        form.current = current;
        update();
        text.focus();
      },
    },
    "Clear all filters",
  );
  parts.push(() => (clear.hidden = current.empty));
  const node = element(
    "form",
    { role: "search", "aria-label": "Filter the answers", className: "filters", onsubmit: (event) => event.preventDefault() },
    text,
    element("div", { className: "row" }, choices, words),
    element("div", { className: "row" }, flags, clear),
  );
  const form = {
    node,
    text,
    current,
    show(filters) {
      current = filters;
      form.current = filters;
      for (const part of parts) part();
    },
  };
  form.show(filters);
  return form;
}

/** A list of boxes that opens below its name and says what is chosen. */
function choiceControl([key, title, , list], data, current, update, parts) {
  const name = (value) => (key === "language" && isLanguage(value) ? `${languageName(value)} (${value})` : value || "none");
  const boxes = data[list].map((value) => {
    const box = element("input", {
      type: "checkbox",
      onchange: () => {
        toggle(current().chosen[key], value, box.checked);
        update();
      },
    });
    parts.push(() => (box.checked = current().chosen[key].has(value)));
    return element("label", {}, box, " ", swatch(data.colors[list]?.[value]), name(value));
  });
  const summary = element("summary", {});
  parts.push(() => {
    const chosen = [...current().chosen[key]];
    const which = chosen.length === 0 ? "all" : chosen.length <= 2 ? chosen.map((it) => it || "none").join(", ") : `${chosen.length} of ${data[list].length}`;
    summary.textContent = `${title}: ${which}`;
    summary.classList.toggle("set", chosen.length > 0);
  });
  const node = element("details", { className: "choice", "data-choice": key }, summary, element("fieldset", {}, element("legend", {}, title), boxes));
  const close = (event) => {
    if (node.open && (event.type === "keydown" ? event.key === "Escape" : !node.contains(event.target))) {
      node.open = false;
      if (event.type === "keydown") summary.focus();
    }
  };
  document.addEventListener("click", close);
  node.addEventListener("keydown", close);
  return node;
}

/** A spot in the color that a model or language has in all figures; null when it has none. */
function swatch(color) {
  if (!color) return null;
  const spot = element("span", { className: "swatch", "aria-hidden": "true" });
  spot.style.backgroundColor = color;
  return spot;
}

function toggle(set, value, on) {
  if (on) set.add(value);
  else set.delete(value);
}
