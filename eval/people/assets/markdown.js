// Markdown as elements, made node by node: nothing of the text is ever read as HTML, and links lead nowhere.

const WIDEST = 1000; // characters of the line below the head of a table
const DEEPEST = 6; // quotations, lists and emphasis within each other
const LONGEST = 20_000; // characters of a paragraph in which emphasis and the like are looked for
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const ENTRY = /^( {0,3})(?:([-*+])|(\d{1,9})[.)])(?:[ \t]+|$)/;
const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const QUOTE = /^ {0,3}>/;
const BEGINNINGS = [FENCE, HEADING, RULE, QUOTE, ENTRY];

/** The blocks of a text. */
function markdownBlocks(text, depth = 0) {
  return blocksOf(text.replaceAll("\r\n", "\n").replaceAll("\r", "\n").split("\n"), depth);
}

function blocksOf(lines, depth) {
  const blocks = [];
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) blocks.push(element("p", { dir: "auto" }, inline(paragraph.join("\n"), 0)));
    paragraph = [];
  };
  for (let at = 0; at < lines.length; ) {
    const rest = depth >= DEEPEST || lines[at].length > LONGEST ? null : blockAt(lines, at, depth, paragraph.length > 0);
    if (rest) {
      flush();
      if (rest.node) blocks.push(rest.node);
      at = rest.next;
    } else {
      paragraph.push(lines[at].replace(/^[ \t]+/, ""));
      at += 1;
    }
  }
  flush();
  return blocks;
}

/** The block that begins at a line, and the line after it; null for a line of a paragraph. */
function blockAt(lines, at, depth, inParagraph) {
  const line = lines[at];
  if (line.trim() === "") return { node: null, next: at + 1 };
  const fence = FENCE.exec(line);
  if (fence) {
    let end = at + 1;
    while (end < lines.length && !(lines[end].trim().startsWith(fence[1]) && /^[`~]+$/.test(lines[end].trim()))) end += 1;
    return { node: codeBlock(lines.slice(at + 1, end)), next: end + 1 };
  }
  const heading = HEADING.exec(line);
  // The levels of a response are below those of the page.
  if (heading) return { node: element("p", { dir: "auto", className: `heading level-${heading[1].length}` }, inline(headingText(line.slice(heading[0].length)), 0)), next: at + 1 };
  if (RULE.test(line)) return { node: element("hr"), next: at + 1 };
  if (QUOTE.test(line)) {
    let end = at;
    while (end < lines.length && QUOTE.test(lines[end])) end += 1;
    const inner = lines.slice(at, end).map((each) => each.replace(/^ {0,3}> ?/, ""));
    return { node: element("blockquote", {}, blocksOf(inner, depth + 1)), next: end };
  }
  const entry = ENTRY.exec(line);
  if (entry && !(inParagraph && entry[3] && entry[3] !== "1")) return list(lines, at, depth);
  const below = lines[at + 1] ?? "";
  if (line.includes("|") && below.length <= WIDEST && TABLE_RULE.test(below)) return table(lines, at);
  if (/^(?: {4}|\t)/.test(line) && !inParagraph) {
    let end = at;
    while (end < lines.length && (/^(?: {4}|\t)/.test(lines[end]) || lines[end].trim() === "")) end += 1;
    while (lines[end - 1].trim() === "") end -= 1;
    return { node: codeBlock(lines.slice(at, end).map((each) => each.replace(/^(?: {4}|\t)/, ""))), next: end };
  }
  return null;
}

/** A heading without the marks that may stand at its end too. */
function headingText(text) {
  const trimmed = text.trim();
  let end = trimmed.length;
  while (trimmed[end - 1] === "#") end -= 1;
  return end === 0 || /[ \t]/.test(trimmed[end - 1]) ? trimmed.slice(0, end).trim() : trimmed;
}

function codeBlock(lines) {
  return element("pre", { tabindex: "0", dir: "ltr" }, element("code", {}, lines.join("\n")));
}

function list(lines, at, depth) {
  const first = ENTRY.exec(lines[at]);
  const kind = (entry) => (entry[2] ? entry[2] : "1");
  const items = [];
  let width = 0;
  let loose = false; // whether a blank line stands between the entries or in one
  while (at < lines.length) {
    const entry = ENTRY.exec(lines[at]);
    if (entry && kind(entry) === kind(first) && !RULE.test(lines[at])) {
      width = entry[0].length;
      items.push([lines[at].slice(width)]);
    } else if (lines[at].trim() === "") {
      const next = lines.slice(at + 1, at + 3).find((line) => line.trim() !== "") ?? "";
      const other = ENTRY.exec(next);
      const goesOn = indentOf(next) >= 2 || (other && kind(other) === kind(first));
      if (!goesOn) break;
      items.at(-1).push("");
      loose = true;
    } else if (indentOf(lines[at]) >= Math.min(width, 2)) {
      items.at(-1).push(lines[at].replace(new RegExp(`^[ \\t]{0,${width}}`), ""));
    } else if (items.at(-1).at(-1) !== "" && !BEGINNINGS.some((pattern) => pattern.test(lines[at]))) {
      items.at(-1).push(lines[at]); // a paragraph goes on without being indented
    } else break;
    at += 1;
  }
  const entries = items.map((inner) => {
    const blocks = blocksOf(inner, depth + 1);
    return element("li", { dir: "auto" }, loose ? blocks : blocks.flatMap((block) => (block.localName === "p" && block.className === "" ? [...block.childNodes] : [block])));
  });
  const start = first[3] && first[3] !== "1" ? first[3] : null;
  return { node: element(first[3] ? "ol" : "ul", { start }, entries), next: at };
}

function indentOf(line) {
  return /^[ \t]*/.exec(line)[0].replaceAll("\t", "    ").length;
}

function table(lines, at) {
  const cells = (line) => line.trim().replace(/^\|/, "").replace(/\|$/, "").split("|");
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && lines[end].trim() !== "") end += 1;
  const row = (line, tag) => element("tr", {}, cells(line).map((cell) => element(tag, { dir: "auto" }, inline(cell.trim(), 0))));
  const body = lines.slice(at + 2, end).map((line) => row(line, "td"));
  const whole = element("table", {}, element("thead", {}, row(lines[at], "th")), element("tbody", {}, body));
  return { node: element("div", { className: "scroll", tabindex: "0" }, whole), next: end };
}

const LETTER = /[\p{L}\p{N}]/u;
const TRIES = 20; // marks that are looked at as the end of one emphasis
const PAIRS = [["***", "em"], ["___", "em"], ["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];

/** Where emphasis ends: at a run of as many marks behind a letter; -1 where there is none. */
function closingRun(text, mark, from, absent) {
  for (let tries = 0; tries < TRIES && !absent.has(mark); tries += 1) {
    const at = text.indexOf(mark, from);
    if (at < 0) {
      absent.add(mark);
      return -1;
    }
    let end = at + mark.length;
    while (text[end] === mark[0]) end += 1;
    const more = end - at - mark.length; // the end of an emphasis within, before ours
    const fits = more === 0 || (mark.length === 2 && more === 1);
    const inWord = mark[0] === "_" && LETTER.test(text[end] ?? "");
    if (fits && !inWord && /[^\s\\]/.test(text[at - 1])) return at + more;
    from = end;
  }
  return -1;
}

/** The nodes of a line of text. */
function inline(text, depth) {
  if (depth >= DEEPEST || text.length > LONGEST) return [text];
  const nodes = [];
  const absent = new Set(); // closing marks that do not come any more, so that no text is searched twice
  let plain = "";
  const push = (node) => {
    if (plain !== "") nodes.push(plain);
    plain = "";
    nodes.push(node);
  };
  const closing = (mark, from) => {
    if (absent.has(mark)) return -1;
    const end = text.indexOf(mark, from);
    if (end < 0) absent.add(mark);
    return end;
  };
  for (let at = 0; at < text.length; ) {
    const letter = text[at];
    if (letter === "\\" && /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "")) {
      plain += text[at + 1];
      at += 2;
      continue;
    }
    if (letter === "\n") {
      push(element("br"));
      at += 1;
      continue;
    }
    if (letter === "`") {
      const mark = /^`+/.exec(text.slice(at, at + 50))[0];
      const end = closing(mark, at + mark.length);
      if (end > 0) {
        push(element("code", {}, text.slice(at + mark.length, end)));
        at = end + mark.length;
        continue;
      }
      plain += mark;
      at += mark.length;
      continue;
    }
    if (letter === "[" || (letter === "!" && text[at + 1] === "[")) {
      const from = at + (letter === "!" ? 2 : 1);
      const middle = closing("](", from);
      const end = middle < 0 ? -1 : closing(")", middle + 2);
      if (end > 0 && middle - from < 1000 && !text.slice(from, middle).includes("[")) {
        const address = text.slice(middle + 2, end);
        push(element("span", { className: "link" }, inline(text.slice(from, middle), depth + 1), element("span", { className: "address", dir: "ltr" }, ` (${address})`)));
        at = end + 1;
        continue;
      }
    }
    const pair = PAIRS.find(([mark]) => text.startsWith(mark, at));
    if (pair) {
      const [mark, tag] = pair;
      const from = at + mark.length;
      const inWord = mark[0] === "_" && LETTER.test(text[at - 1] ?? ""); // as in snake_case
      const end = inWord || !/\S/.test(text[from] ?? "") ? -1 : closingRun(text, mark, from + 1, absent);
      if (end > 0) {
        const inner = inline(text.slice(from, end), depth + 1);
        push(element(tag, {}, mark.length === 3 ? element("strong", {}, inner) : inner));
        at = end + mark.length;
        continue;
      }
      plain += mark;
      at = from;
      continue;
    }
    plain += letter;
    at += 1;
  }
  if (plain !== "") nodes.push(plain);
  return nodes;
}
