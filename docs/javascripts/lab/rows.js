// @ts-check
/**
 * The layers as rows of a table: what the reader sets, and what comes of it.
 *
 * A row is built anew only when the design's kinds of layers change; numbers are written into the
 * rows that are there, so that a field keeps the cursor while one types.
 */

import { make, withRole } from "../elements.js";
import { MOST_LAYERS, PARTS, count } from "./design.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./design.js").Row} Row */
/** @typedef {import("./design.js").Analysis} Analysis */
/**
 * @typedef {(layers: Row[], what: {said: string, typing?: string}) => void} Change
 *   said: what happened, for those who listen; typing: the field, where several changes are one
 * @typedef {{element: HTMLElement, name: HTMLElement, select: HTMLSelectElement,
 *            inputs: Record<string, HTMLInputElement>, facts: HTMLElement[], note: HTMLElement,
 *            buttons: Record<string, HTMLButtonElement>}} Shown
 */

/** @type {Record<string, string>} */
const KINDS = {
  Conv2d: "convolution",
  BatchNorm2d: "batch normalization",
  ReLU: "ReLU",
  MaxPool2d: "max pooling",
  AvgPool2d: "average pooling",
  AdaptiveAvgPool2d: "global average",
};
const FACTS = ["output", "parameters", "multiplications", "field", "jump"];

/** What most often follows a layer, to begin with. @type {Record<string, Row["kind"]>} */
const FOLLOWS = { Conv2d: "BatchNorm2d", BatchNorm2d: "ReLU" };

/** A new row. @param {string} kind @returns {Row} */
function newRow(kind) {
  if (kind === "Conv2d") {
    return { kind, channels: 10, kernel: 3, stride: 1, padding: 0, dilation: 1, bias: false };
  }
  if (kind === "MaxPool2d" || kind === "AvgPool2d") return { kind, kernel: 2, stride: 2 };
  return { kind: /** @type {"ReLU"} */ (kind) };
}

/**
 * @param {HTMLElement} place @param {Change} change
 * @returns {{show: (design: Design, analysis: Analysis) => void}}
 */
export function mountRows(place, change) {
  /** @type {Row[]} */
  let layers = [];
  /** @type {Shown[]} */
  let rows = [];
  /** Where the keyboard goes once the rows are built anew: which row, and which part of it. */
  let wanted = /** @type {[number, string] | null} */ (null);

  const body = withRole("tbody", "rowgroup");
  const titles = ["layer", "kind", ...Object.keys(PARTS), "bias", ...FACTS];
  const head = withRole("tr", "row", ...titles.map((text) => withRole("th", "columnheader", text)));
  for (const unseen of ["change", "note"]) {
    head.append(withRole("th", "columnheader", make("span", { class: "lab-unseen" }, unseen)));
  }
  const table = withRole("table", "table", withRole("thead", "rowgroup", head), body);
  table.className = "lab-table";
  table.setAttribute("aria-label", "Layers, with what each gives out, costs and sees");
  const add = /** @type {HTMLButtonElement} */ (button("Add a layer", () => insert(end())));
  place.append(table, make("p", { class: "lab-add" }, add));

  // --- What the reader does -------------------------------------------------------------------

  /** Behind all layers, but in front of a mean of whole maps, behind which little can stand. */
  function end() {
    return layers.length - (layers.at(-1)?.kind === "AdaptiveAvgPool2d" ? 1 : 0);
  }

  /** @param {number} at */
  function insert(at) {
    const row = newRow(at ? (FOLLOWS[layers[at - 1].kind] ?? "Conv2d") : "Conv2d");
    wanted = [at, "kind"];
    const next = [...layers.slice(0, at), row, ...layers.slice(at)];
    change(next, { said: `Added ${KINDS[row.kind]} as layer ${at + 1}; choose its kind.` });
  }

  /** @param {number} at */
  function remove(at) {
    // The keyboard stays where it was: on the next row's button, or on the last one's.
    wanted = [Math.min(at, layers.length - 2), "remove"];
    change(layers.toSpliced(at, 1), { said: `Removed ${rows[at].name.textContent}.` });
    if (!layers.length) add.focus();
  }

  /** @param {number} at @param {number} by */
  function move(at, by) {
    const to = at + by;
    const next = [...layers];
    [next[at], next[to]] = [next[to], next[at]];
    // The focus goes along, to the other button where this one can move no further.
    const along = by < 0 ? "up" : "down";
    const end = by < 0 ? 0 : layers.length - 1;
    wanted = [to, to === end ? (by < 0 ? "down" : "up") : along];
    change(next, { said: `Moved ${KINDS[next[to].kind]} to place ${to + 1} of ${next.length}.` });
  }

  /** @param {number} at @param {string} kind */
  function become(at, kind) {
    const before = layers[at];
    const pools = ["MaxPool2d", "AvgPool2d"];
    const same = pools.includes(kind) && pools.includes(before.kind); // one pool for the other
    const row = same ? /** @type {Row} */ ({ ...before, kind }) : newRow(kind);
    wanted = [at, "kind"];
    change(layers.with(at, row), {
      said: `Layer ${at + 1} is ${KINDS[kind]} now.`,
      typing: `${at} kind`, // arrow keys go through the kinds one by one
    });
  }

  /** @param {number} at @param {string} part @param {number | boolean} value */
  function set(at, part, value) {
    const row = /** @type {Row} */ ({ ...layers[at], [part]: value });
    const text = typeof value === "boolean" ? (value ? "on" : "off") : `${value}`;
    const said = Number.isNaN(value) ? "" : `${rows[at].name.textContent}: ${part} ${text}.`;
    change(layers.with(at, row), { said, typing: `${at} ${part}` });
  }

  // --- Showing --------------------------------------------------------------------------------

  /** @param {Design} design @param {Analysis} analysis */
  function show(design, analysis) {
    const kinds = layers.map(({ kind }) => kind).join();
    const focused = wanted ?? placeOfFocus();
    wanted = null;
    layers = design.layers;
    const same = rows.length === layers.length && kinds === layers.map(({ kind }) => kind).join();
    if (!same) {
      rows = layers.map((_, i) => build(i));
      body.replaceChildren(imageRow(), ...rows.map(({ element }) => element));
    }
    rows.forEach((row, i) => fill(row, i, analysis));
    add.disabled = layers.length >= MOST_LAYERS;
    if (!same && focused) focusOn(...focused);
  }

  /** @returns {[number, string] | null} */
  function placeOfFocus() {
    const at = rows.findIndex(({ element }) => element.contains(document.activeElement));
    if (at < 0) return null;
    return [at, /** @type {HTMLElement} */ (document.activeElement).dataset.part ?? "kind"];
  }

  /** @param {number} at @param {string} part */
  function focusOn(at, part) {
    const row = rows[Math.min(at, rows.length - 1)];
    if (!row) return;
    const target = part === "kind" ? row.select : (row.buttons[part] ?? row.inputs[part] ?? row.select);
    (target.hasAttribute("disabled") ? row.select : target).focus();
  }

  /** @param {Shown} row @param {number} i @param {Analysis} analysis */
  function fill({ element, name, select, inputs, facts, note, buttons }, i, analysis) {
    const layer = /** @type {Record<string, any>} */ (layers[i]);
    const found = analysis.rows[i];
    const problems = analysis.problems.filter(({ row }) => row === i);
    const fatal = problems.some((one) => one.fatal);
    const called = (name.textContent = analysis.names[i]);
    select.value = layer.kind;
    select.setAttribute("aria-label", `kind of ${called}`);
    for (const [part, input] of Object.entries(inputs)) {
      input.setAttribute("aria-label", `${part} of ${called}`);
      if (input.type === "checkbox") input.checked = layer[part];
      // A field that says the same in other words, such as 03 or nothing yet, is left alone.
      else if (!Object.is(numberIn(input), layer[part])) input.value = `${layer[part]}`;
      const wrong = problems.some((one) => one.fatal && one.part === part);
      if (wrong) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    /** @type {Record<string, string>} */
    const doing = { up: "move", down: "move", add: "add a layer below", remove: "remove" };
    for (const [what, one] of Object.entries(buttons)) {
      const where = doing[what] === "move" ? ` ${what}` : "";
      one.setAttribute("aria-label", `${doing[what]} ${called}${where}`);
    }
    buttons.up.disabled = i === 0;
    buttons.down.disabled = i === layers.length - 1;
    buttons.add.disabled = layers.length >= MOST_LAYERS;
    const texts = found
      ? [
          found.outputShape.join("×"),
          count(found.parameters),
          count(found.multiplications),
          `${found.size}`,
          `${found.jump}`,
        ]
      : FACTS.map(() => "–");
    facts.forEach((fact, column) => (fact.textContent = texts[column]));
    note.textContent = problems.map(({ text }) => text).join("; ");
    note.hidden = !problems.length;
    note.classList.toggle("is-fatal", fatal);
    element.classList.toggle("is-out", !found);
  }

  /** @param {number} i @returns {Shown} */
  function build(i) {
    const layer = /** @type {Record<string, any>} */ (layers[i]);
    const name = make("code", {});
    const element = withRole("tr", "row", withRole("th", "rowheader", name));
    element.dataset.kind = layer.kind;
    const select = make("select", { "aria-describedby": `lab-note-${i}` });
    select.dataset.part = "kind";
    for (const [kind, words] of Object.entries(KINDS)) select.append(new Option(words, kind));
    select.addEventListener("change", () => become(i, select.value));
    const kind = withRole("td", "cell", select);
    kind.className = "lab-kind";
    element.append(kind);

    /** @type {Record<string, HTMLInputElement>} */
    const inputs = {};
    for (const part of [...Object.keys(PARTS), "bias"]) {
      const cell = withRole("td", "cell");
      cell.dataset.label = part;
      cell.className = "lab-part";
      element.append(cell);
      if (!(part in layer)) continue;
      const input = make("input", { "aria-describedby": `lab-note-${i}` });
      input.dataset.part = part;
      if (part === "bias") {
        input.type = "checkbox";
        input.addEventListener("change", () => set(i, part, input.checked));
      } else {
        const { least, most } = PARTS[part];
        Object.assign(input, { type: "number", inputMode: "numeric", min: least, max: most });
        input.addEventListener("input", () => set(i, part, numberIn(input)));
      }
      inputs[part] = input;
      cell.append(input);
    }
    const facts = FACTS.map((fact) => {
      const value = make("span", {});
      const cell = withRole("td", "cell", value);
      cell.dataset.label = fact;
      cell.className = "lab-fact";
      element.append(cell);
      return value;
    });
    /** @type {Record<string, HTMLButtonElement>} */
    const buttons = {
      up: button("↑", () => move(i, -1)),
      down: button("↓", () => move(i, 1)),
      add: button("+", () => insert(i + 1)),
      remove: button("×", () => remove(i)),
    };
    for (const [what, one] of Object.entries(buttons)) one.dataset.part = what;
    const last = withRole("td", "cell", ...Object.values(buttons));
    last.className = "lab-buttons";
    const note = withRole("td", "cell");
    note.className = "lab-note";
    note.id = `lab-note-${i}`;
    element.append(last, note);
    return { element, name, select, inputs, facts, note, buttons };
  }

  return { show };
}

/** What comes before the first layer. */
function imageRow() {
  const row = withRole("tr", "row", withRole("th", "rowheader", "image"));
  row.className = "lab-image";
  const parts = ["", ...Object.keys(PARTS), "bias"].map(() => "");
  const texts = [...parts, "1×28×28", "", "", "1", "1", "", ""];
  for (const text of texts) row.append(withRole("td", "cell", text));
  return row;
}

/** The number in a field; NaN where there is none. @param {HTMLInputElement} input */
export function numberIn(input) {
  const value = input.value.trim() === "" ? NaN : Number(input.value);
  return Number(value.toFixed(6)); // as many digits as a link has
}

/** @param {string} text @param {() => void} task */
export function button(text, task) {
  const made = make("button", { type: "button" }, text);
  made.addEventListener("click", task);
  return made;
}
