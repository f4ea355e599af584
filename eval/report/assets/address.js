// The address behind "#": which answer is shown, and which filters hold, so that a link leads back to what one sees.
// "#ID" is an instruction, "#ID@MODEL" one answer to it, and "?" begins the filters; all parts are escaped.

/** The parts of an address; an id that stands there as it is, unescaped, is found too. */
function readAddress(hash, known) {
  const text = hash.replace(/^#/, "");
  if (known(text)) return { id: text, model: "", filters: new URLSearchParams() };
  const [path, query = ""] = split(text, "?");
  const [id, model = ""] = split(path, "@").map(unescaped);
  return { id, model, filters: new URLSearchParams(query) };
}

/** The address of an answer, or of its instruction when there is no model, under the filters. */
function writeAddress(id, model, filters) {
  const query = filters.toString();
  const at = model ? `@${encodeURIComponent(model)}` : "";
  return `#${encodeURIComponent(id)}${at}${query ? `?${query}` : ""}`;
}

function split(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a percent sign that is part of an id
  }
}
