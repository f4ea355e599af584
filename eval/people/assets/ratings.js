// Ratings: what is said about one item, the export of all of them as JSON and CSV, and reading an export back,
// in the one format that the command for collecting reads.

const HEAD = ["schema", "sheet", "language", "annotator", "item", "order"];
const TAIL = ["comment", "spans", "seconds"];
const SCORE = "score_";
const FORMULA = /^'*[=+\-@\t\r]/; // what a spreadsheet would compute, and what could be taken for our apostrophe

/** Nothing said about an item yet; "ms" is the time it has been worked on, in milliseconds. */
function emptyRating() {
  return { scores: {}, comment: "", spans: [], ms: 0 };
}

function isEmpty(rating) {
  return Object.keys(rating.scores).length === 0 && rating.comment === "" && rating.spans.length === 0;
}

function isDone(rating, criteria) {
  return criteria.every(({ name }) => name in rating.scores);
}

/** Whether two ratings say the same, however long they took. */
function saysTheSame(one, other, criteria) {
  const said = ({ scores, comment, spans }) => JSON.stringify([criteria.map(({ name }) => scores[name] ?? null), comment, spans]);
  return said(one) === said(other);
}

/** A rating made of anything that claims to be one: what cannot stand in an export is an error. */
function checkedRating({ scores, comment, spans, ms }, criteria, cannotJudge, severities, length) {
  const rating = emptyRating();
  const fail = () => {
    throw new RangeError("not a rating");
  };
  for (const { name, lowest, highest } of criteria) {
    const score = scores?.[name];
    if (score === undefined) continue;
    const onScale = Number.isInteger(score) && score >= lowest && score <= highest;
    if (!onScale && score !== cannotJudge) fail();
    rating.scores[name] = score;
  }
  if (Object.keys(scores ?? {}).length !== Object.keys(rating.scores).length || typeof comment !== "string") fail();
  rating.comment = comment;
  for (const { start, end, severity, criterion } of spans ?? []) {
    const places = Number.isInteger(start) && Number.isInteger(end) && start >= 0 && start < end && end <= length;
    if (!places || !severities.includes(severity) || !criteria.some(({ name }) => name === criterion)) fail();
    rating.spans.push({ start, end, severity, criterion });
  }
  if (!(Number.isFinite(ms) && ms >= 0)) fail();
  rating.ms = ms;
  return rating;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** The checksum of a record of an export. */
function checkOf(record, sheet, names) {
  const { item, order, scores, comment, spans, seconds } = record;
  const marks = spans.map(({ start, end, severity, criterion }) => [start, end, severity, criterion]);
  const text = JSON.stringify([sheet, item, order, names.map((name) => scores[name] ?? null), comment, marks, seconds]);
  return crc32(new TextEncoder().encode(text)).toString(16).padStart(8, "0");
}

/** The records of all items about which something is said. */
function exportedRecords(data, ratingOf) {
  const names = data.criteria.map(({ name }) => name);
  const records = [];
  data.items.forEach(([item], place) => {
    const rating = ratingOf(place);
    if (isEmpty(rating)) return;
    const scores = Object.fromEntries(names.filter((name) => name in rating.scores).map((name) => [name, rating.scores[name]]));
    const record = { item, order: place + 1, scores, comment: rating.comment, spans: rating.spans, seconds: Math.round(rating.ms / 1000) };
    records.push({ ...record, check: checkOf(record, data.sheet, names) });
  });
  return records;
}

function jsonExport(data, records) {
  const { format, schema, sheet, language, annotator } = data;
  const criteria = data.criteria.map(({ name }) => name);
  return `${JSON.stringify({ format, schema, sheet, language, annotator, criteria, items: records }, null, 1)}\n`;
}

function csvExport(data, records) {
  const names = data.criteria.map(({ name }) => name);
  const cell = (value) => {
    const text = String(value ?? "");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = records.map(({ item, order, scores, comment, spans, seconds, check }) => [
    ...[data.schema, data.sheet, data.language, data.annotator, item, order],
    ...names.map((name) => scores[name]),
    ...[FORMULA.test(comment) ? `'${comment}` : comment, spans.length ? JSON.stringify(spans) : "", seconds, check],
  ]);
  const lines = [[...HEAD, ...names.map((name) => SCORE + name), ...TAIL, "check"], ...rows];
  // The mark at the beginning tells spreadsheets that the file is UTF-8.
  return `\ufeff${lines.map((line) => line.map(cell).join(",")).join("\n")}\n`;
}

/** Why a file cannot be imported: the name of the words that say so, and the values in them. */
class ImportError extends Error {
  constructor(words, values = {}) {
    super(words);
    this.words = words;
    this.values = values;
  }
}

/** The ratings of an export by the place of their items, each checked; raises ImportError. */
function readExport(text, data) {
  const found = parseExport(text.replace(/^\ufeff/, ""));
  const known = String(data.schema);
  if (found.sheet === undefined || found.schema === undefined || !Array.isArray(found.items)) throw new ImportError("error_unreadable");
  if (String(found.schema) !== known) throw new ImportError("error_schema", { other: found.schema, known });
  if (found.sheet !== data.sheet) throw new ImportError("error_sheet", { other: found.sheet, sheet: data.sheet });
  const given = Array.isArray(found.criteria) ? found.criteria : [];
  const names = data.criteria.map(({ name }) => name).filter((name) => given.includes(name)); // columns may have moved
  const places = new Map(data.items.map(([item], place) => [item, place]));
  const ratings = new Map();
  for (const record of found.items) {
    const place = places.get(record?.item);
    try {
      const plain = found.plain(record).find((each) => each.check === checkOf(each, found.sheet, names));
      if (!plain) throw new RangeError("another checksum");
      const ms = (plain.seconds ?? 0) * 1000;
      const length = data.items[place][2].length;
      ratings.set(place, checkedRating({ ...plain, ms }, data.criteria, data.cannotJudge, data.severities, length));
    } catch {
      throw new ImportError("error_changed", { item: place === undefined ? String(record?.item) : place + 1 });
    }
  }
  return ratings;
}

function parseExport(text) {
  if (text.trimStart().startsWith("{")) {
    try {
      return { ...JSON.parse(text), plain: (record) => [record] };
    } catch {
      throw new ImportError("error_unreadable");
    }
  }
  const [names = [], ...rows] = parseTable(text.replace(/^sep=.\r?\n/, "")); // a line of Excel's
  if (rows.some((row) => row.length < names.length)) throw new ImportError("error_unreadable");
  const column = (row, name) => row[names.indexOf(name)];
  const number = (cell) => (/^\d+(?:[.,]0+)?$/.test(cell ?? "") ? Number.parseInt(cell, 10) : cell);
  const criteria = names.filter((name) => name.startsWith(SCORE)).map((name) => name.slice(SCORE.length));
  const items = rows.map((row) => {
    const scores = criteria.filter((name) => column(row, SCORE + name)).map((name) => [name, number(column(row, SCORE + name))]);
    let spans;
    try {
      spans = JSON.parse(column(row, "spans") || "[]");
    } catch {
      spans = null; // which is a changed record
    }
    const seconds = column(row, "seconds") ? number(column(row, "seconds")) : null;
    const record = { item: column(row, "item"), order: number(column(row, "order")), scores: Object.fromEntries(scores) };
    // Mail and editors may have changed the line ends of the file, also those in a comment.
    const comment = column(row, "comment")?.replaceAll("\r\n", "\n");
    return { ...record, comment, spans, seconds, check: column(row, "check") };
  });
  const first = rows[0] ?? [];
  // Without the apostrophe before a formula, or as it stands where it is the annotator's.
  const marked = ({ comment }) => comment.startsWith("'") && FORMULA.test(comment);
  const plain = (record) => (marked(record) ? [{ ...record, comment: record.comment.slice(1) }, record] : [record]);
  return { plain, schema: number(column(first, "schema")), sheet: column(first, "sheet"), criteria, items };
}

/** The cells of a table, whose delimiter is the most frequent one of its first line. */
function parseTable(text) {
  const heading = text.split("\n", 1)[0];
  const delimiter = [",", ";", "\t"].reduce((best, each) => (heading.split(each).length > heading.split(best).length ? each : best));
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[at + 1] === '"') cell += text[(at += 1)];
      else quoted = false;
    } else if (letter === '"' && cell === "") quoted = true;
    else if (letter === delimiter) {
      row.push(cell);
      cell = "";
    } else if (letter === "\n") {
      row.push(cell);
      rows.push(row);
      row = [];
      cell = "";
    } else if (letter !== "\r") cell += letter;
  }
  if (cell !== "" || row.length) rows.push([...row, cell]);
  return rows.filter((cells) => cells.some((each) => each !== ""));
}
