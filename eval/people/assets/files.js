// Export and import: the dialogs and what they do with files.

/** Words with values in the places in braces. */
function fill(words, values) {
  return words.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Let the browser save a text as a file. */
function save(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function fileName(data, ending) {
  const now = new Date();
  const two = (number) => String(number).padStart(2, "0");
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  return `ratings-${data.language}-${data.annotator}-${day}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}.${ending}`;
}

/** Offer the export; "onexport" is called after each. */
function exportDialog(data, records, onexport) {
  const { words } = data;
  if (records.length === 0) return openDialog(words, words.export, element("p", {}, words.nothing_yet));
  const status = element("p", { role: "status" });
  const write = (ending, text, type) => {
    const name = fileName(data, ending);
    save(name, text, type);
    status.textContent = fill(words.exported, { file: name, count: records.length });
    onexport();
  };
  const asJson = () => write("json", jsonExport(data, records), "application/json");
  const asTable = () => write("csv", csvExport(data, records), "text/csv");
  const text = element("textarea", { readonly: true, rows: 3, dir: "ltr", "aria-label": words.export_copy, onfocus: () => text.select(), oncopy: () => onexport() });
  return openDialog(
    words,
    words.export,
    element("p", {}, words.export_help),
    element(
      "p",
      { className: "buttons" },
      element("button", { type: "button", className: "main", onclick: asJson }, words.export_json),
      element("button", { type: "button", onclick: asTable }, words.export_csv),
    ),
    status,
    element("details", { ontoggle: () => (text.value = jsonExport(data, records)) }, element("summary", {}, words.export_copy), text),
  );
}

/**
 * Offer the import. "compare" tells of ratings by place which are new here and which differ; "take" takes some over.
 */
function importDialog(data, compare, take) {
  const { words } = data;
  const status = element("div", { role: "status" });
  const input = element("input", { type: "file", accept: ".json,.csv,application/json,text/csv", "aria-label": words.import_choose });
  const say = (name, values) => status.replaceChildren(element("p", { className: name.startsWith("error") ? "wrong" : null }, fill(words[name], values)));
  const done = (file, ratings) => {
    take(ratings);
    say(ratings.size ? "imported" : "imported_nothing", { file, count: ratings.size });
  };
  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (!file) return;
    try {
      const { fresh, different } = compare(readExport(await file.text(), data));
      if (different.size === 0) {
        done(file.name, fresh);
        return;
      }
      say("conflict", { file: file.name, count: different.size });
      const answer = (label, ratings) => element("button", { type: "button", onclick: () => done(file.name, ratings) }, label);
      status.append(element("p", { className: "buttons" }, answer(words.take_file, new Map([...fresh, ...different])), answer(words.keep_mine, fresh)));
    } catch (error) {
      if (error instanceof ImportError) say(error.words, { file: file.name, ...error.values });
      else say("error_unreadable", { file: file.name });
    } finally {
      input.value = "";
    }
  });
  return openDialog(words, words.import, element("p", {}, words.import_help), element("label", { className: "file" }, element("span", {}, words.import_choose), input), status);
}
