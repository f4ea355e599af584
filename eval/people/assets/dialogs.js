// The dialogs that show something: the guideline, the keys, and how far each item is.

const BLOCK = 100; // items in the overview at once

/** A dialog with a heading and a button that closes it; it is taken away when it closes. */
function openDialog(words, title, ...content) {
  const heading = element("h2", { tabindex: "-1", autofocus: true }, title);
  const close = element("button", { type: "button", onclick: () => dialog.close() }, words.close);
  const dialog = element("dialog", { "aria-label": title }, heading, content.flat(), element("p", { className: "buttons end" }, close));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close()); // beside it
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** How to rate, and each criterion with its levels and examples. */
function guidelineDialog(data) {
  const { words, steps, rules, criteria } = data;
  const levels = ({ levels: says, examples, lowest, highest }) =>
    Array.from({ length: highest - lowest + 1 }, (_, step) => String(lowest + step))
      .filter((score) => says[score] || examples[score])
      .map((score) =>
        element("div", {}, element("dt", {}, score), element("dd", {}, says[score] ?? "", examples[score] ? element("span", { className: "example" }, element("span", { className: "label" }, `${words.example} `), examples[score]) : null)),
      );
  openDialog(
    words,
    words.guideline,
    element("ol", {}, steps.map((step) => element("li", {}, step))),
    rules.length ? element("ul", {}, rules.map((rule) => element("li", {}, rule))) : null,
    criteria.map((criterion) => element("section", {}, element("h3", { className: criterion.name }, criterion.title), element("p", {}, criterion.question), element("dl", { className: "levels" }, levels(criterion)))),
  );
}

/** The keys, and whether they are used. */
function keysDialog(sheet) {
  const { words, criteria } = sheet.data;
  const last = Math.min(9, Math.max(...criteria.map(({ highest }) => highest)));
  const first = Math.min(...criteria.map(({ lowest }) => lowest));
  const rows = [
    [[`${first}`, "…", `${last}`], words.key_rate], [["X"], words.key_none], [["⌫"], words.key_clear], [["Tab", "⇧ Tab"], words.key_tab],
    [["Enter"], words.key_enter], [["J", "K"], words.key_step], [["U"], words.key_open], [["C"], words.key_comment], [["S", "← →"], words.key_select],
    [["T"], words.key_view], [["G"], words.key_guideline], [["E"], words.key_export], [["H", "?"], words.key_help],
  ];
  const input = element("input", { type: "checkbox", checked: sheet.keysOn });
  input.addEventListener("change", () => {
    sheet.keysOn = input.checked;
    sheet.store.set("keys", input.checked ? "on" : "off");
  });
  const list = rows.map(([keys, says]) => element("div", {}, element("dt", {}, keys.map((each) => (each === "…" ? each : element("kbd", {}, each)))), element("dd", {}, says)));
  openDialog(words, words.keys, element("dl", { className: "keys" }, list), element("label", { className: "check" }, input, ` ${words.keys_on}`));
}

/** All items, a hundred at a time, with how far each is. */
function overviewDialog(sheet) {
  const { words, criteria } = sheet.data;
  let from = sheet.place - (sheet.place % BLOCK);
  const grid = element("div", { className: "items" });
  const before = element("button", { type: "button", onclick: () => draw(from - BLOCK) }, words.items_earlier);
  const after = element("button", { type: "button", onclick: () => draw(from + BLOCK) }, words.items_later);
  const go = (place) => {
    dialog.close();
    sheet.show(place);
  };
  const draw = (start) => {
    from = start;
    before.disabled = from === 0;
    after.disabled = from + BLOCK >= sheet.total;
    const shown = sheet.ratings.slice(from, from + BLOCK).map((rating, step) => {
      const state = isDone(rating, criteria) ? "done" : isEmpty(rating) ? "open" : "begun";
      const place = from + step;
      const label = `${place + 1}: ${words[`item_${state}`]}`;
      return element("button", { type: "button", className: state, "aria-label": label, title: label, "aria-current": place === sheet.place ? "true" : null, onclick: () => go(place) }, String(place + 1));
    });
    grid.replaceChildren(...shown);
  };
  const number = element("input", { type: "number", min: 1, max: sheet.total, required: true, value: String(sheet.place + 1), id: "go-to" });
  const submit = (event) => {
    event.preventDefault();
    if (number.validity.valid) go(number.valueAsNumber - 1);
  };
  number.addEventListener("keydown", (event) => event.key === "Enter" && submit(event));
  const dialog = openDialog(
    words,
    words.items,
    element("p", { className: "go" }, element("label", { for: "go-to" }, words.go_to), number, element("button", { type: "button", onclick: submit }, words.go)),
    grid,
    sheet.total > BLOCK ? element("p", { className: "buttons" }, before, after) : null,
  );
  draw(from);
}
