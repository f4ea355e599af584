// One answer: its text with unknown words and foreign lines marked, its scores, and what judges said.

const LONG = 1200; // characters after which a text is folded
const WORD = /[\p{L}\p{M}\p{N}]+(?:(?:['’ʼ‘‛´′＇\-‐‑\u200c\u200d]|(?<=[lL])·(?=[lL]))[\p{L}\p{M}\p{N}]+)*/gu;
const KINDS = {
  foreign: (language) => (language ? `a word of ${languageName(language)}` : "a foreign word"),
  nonword: () => "a word of no dictionary",
  name: () => "a name",
};

/** The card of an answer. "address" is its permalink. */
function answerCard(answer, data, address) {
  const { prompt } = answer;
  const notes = [];
  if (answer.wrong) {
    const found = answer.found ? `in ${languageName(answer.found)}` : "in no language";
    notes.push(`${found}, not in ${languageName(prompt.language) || "the language asked for"}`);
  }
  if (answer.finish === "length") notes.push("cut off at the token limit");
  else if (answer.finish) notes.push(answer.finish);
  if (answer.disagreement) notes.push(answer.disagreement);
  return element(
    "article",
    { className: "answer", "aria-label": answer.model || "answer", tabindex: "-1" },
    element(
      "header",
      {},
      element("h4", {}, swatch(data.colors.models[answer.model]), answer.model || "answer"),
      element("a", { className: "permalink", href: address, "aria-label": `Link to the answer of ${answer.model || "the model"}`, title: "Link to this answer" }, "#"),
    ),
    notes.length ? element("ul", { className: "notes" }, notes.map((note) => element("li", {}, note))) : null,
    answerText(answer),
    scoreList(answer),
    (answer.judgments ?? []).map(judgmentBlock),
  );
}

function answerText(answer) {
  const { prompt } = answer;
  if (answer.text === "") return element("p", { className: "nothing" }, "The answer is empty.");
  const kinds = unknownWords(answer.words ?? {});
  const lines = answer.text.split("\n").map((line, at) => lineBlock(line, answer.lines?.[at] ?? "", prompt.language, kinds));
  const lang = isLanguage(prompt.language) ? prompt.language : null;
  const text = element("div", { className: "text", dir: "auto", lang }, lines);
  if (answer.text.length <= LONG && lines.length <= 26) return text;
  text.classList.add("folded");
  const button = element(
    "button",
    {
      type: "button",
      className: "plain",
      onclick: () => {
        const folded = text.classList.toggle("folded");
        button.textContent = folded ? more : "Show less";
      },
    },
    "",
  );
  const more = `Show all ${whole.format(answer.text.length)} characters`;
  button.textContent = more;
  return element("div", {}, text, button);
}

/** A line; one that is not in the language of the question has a bar and the name of its language beside it. */
function lineBlock(line, language, expected, kinds) {
  const block = element("div", { className: "line" }, markedWords(line, kinds));
  if (line.trim() === "") block.append(document.createElement("br"));
  if (language === "" || language === expected) return block;
  const unsure = language === "unknown";
  block.classList.add(unsure ? "unsure" : "other");
  const name = unsure ? "in no language for sure" : `in ${languageName(language)}`;
  block.prepend(element("span", { className: "tag", title: `This line is ${name}.` }, unsure ? "?" : language));
  return block;
}

/** The words of all kinds, as they are compared: by lower case, with plain apostrophes and hyphens. */
function unknownWords(words) {
  const kinds = new Map();
  for (const [kind, languages] of Object.entries(words)) {
    for (const [language, list] of Object.entries(languages)) {
      for (const word of list) kinds.set(plainWord(word), { kind, says: KINDS[kind]?.(language) ?? kind });
    }
  }
  return kinds;
}

function plainWord(word) {
  return word.normalize("NFC").toLowerCase().replace(/[’ʼ‘‛´′＇]/g, "'").replace(/[‐‑]/g, "-");
}

function markedWords(line, kinds) {
  if (kinds.size === 0) return [line];
  const parts = [];
  let end = 0;
  for (const match of line.matchAll(WORD)) {
    const known = kinds.get(plainWord(match[0]));
    if (!known) continue;
    parts.push(line.slice(end, match.index), element("mark", { className: known.kind, title: known.says }, match[0]));
    end = match.index + match[0].length;
  }
  parts.push(line.slice(end));
  return parts;
}

/** All scores; the first few stand in the line that opens the rest. */
function scoreList(answer) {
  const scores = Object.entries(answer.scores ?? {});
  const states = answer.states ?? {};
  for (const metric of Object.keys(states)) if (!(metric in (answer.scores ?? {}))) scores.push([metric, null]);
  if (scores.length === 0) return null;
  const said = scores.filter(([, value]) => value !== null);
  const first = said.slice(0, 3).map(([metric, value]) => `${readable(metric)} ${value}`);
  const rows = scores.map(([metric, value]) => {
    const why = value === null ? states[metric] || "no score" : value;
    return element("div", {}, element("dt", {}, readable(metric)), element("dd", { className: value === null ? "nothing" : null }, String(why)));
  });
  return element(
    "details",
    { className: "scores" },
    element("summary", {}, first.length ? first.join(" · ") : "No scores"),
    element("dl", {}, rows),
  );
}

function judgmentBlock(judgment) {
  const scores = Object.entries(judgment.scores ?? {}).map(([name, value]) => `${readable(name)} ${value ?? "–"}`);
  const says = judgment.outcome ? `no score (${judgment.outcome})` : scores.join(", ");
  const line = [element("strong", {}, judgment.judge ?? "judge"), `: ${says}`];
  if (!judgment.words) return element("p", { className: "judgment" }, line);
  return element("details", { className: "judgment" }, element("summary", {}, line), element("blockquote", { dir: "auto" }, judgment.words));
}

function readable(name) {
  return name.replaceAll("_", " ");
}
