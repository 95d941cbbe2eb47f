// @ts-check
/**
 * The receptive-field explorer: a network to edit, its table, and a unit to pick.
 *
 * There is one state (`now`): the layers that the reader chose, which of them is looked at, and
 * which of its units. Every event changes the state; `show` then says all of it anew.
 */

import { make, set, svg, within, withRole } from "../elements.js";
import { digit } from "./digit.js";
import { analyze, seenBy } from "./network.js";
import { presets } from "./presets.js";

/** @typedef {import("./presets.js").Choice} Choice */
/** @typedef {import("./network.js").Step} Step */
/** @typedef {import("./network.js").Analysis} Analysis */
/** @typedef {"kernel" | "stride" | "padding" | "dilation"} Part */
/** @typedef {{layer: Choice, element: HTMLElement, shows: HTMLInputElement,
 *             inputs: Record<Part, HTMLInputElement>, facts: HTMLElement[],
 *             problem: HTMLElement}} Row */

const IMAGE = [1, digit.length, digit[0].length];
const MOST_LAYERS = 16;
/** @type {Record<Part, {least: number, most: number}>} */
const LIMITS = {
  kernel: { least: 1, most: 28 },
  stride: { least: 1, most: 14 },
  padding: { least: 0, most: 14 },
  dilation: { least: 1, most: 14 },
};
const PARTS = /** @type {Part[]} */ (Object.keys(LIMITS));
/** @type {Record<string, string>} */
const KINDS = { Conv2d: "convolution", MaxPool2d: "max pooling", AvgPool2d: "mean pooling" };
const FACTS = ["output", "size", "jump", "start"];
const FIRST_PRESET = 8;

const now = {
  /** @type {Choice[]} a value is NaN while its field holds no number */ layers: [],
  chosen: 0, // which layer's units are shown
  row: 0, // of the unit
  column: 0,
  /** @type {Analysis} */ analysis: { layers: [], measures: [], problem: null },
};

const root = /** @type {HTMLElement} */ (document.getElementById("rf-explorer"));
const page = build();
/** @type {Row[]} */
let rows = [];

usePreset(FIRST_PRESET);

// --- What the reader does ---------------------------------------------------------------------

/** @param {number} stage */
function usePreset(stage) {
  now.layers = presets[stage].map((layer) => ({ ...layer }));
  buildRows();
  compute();
  look(behindPooling());
}

/** The first layer behind a pooling: its fields are neither a few pixels nor the whole image. */
function behindPooling() {
  return Math.min(now.layers.findIndex(({ kind }) => kind !== "Conv2d") + 1, deepest());
}

function add() {
  now.layers.push({ kind: "Conv2d", kernel: 3, stride: 1, padding: 0, dilation: 1 });
  buildRows();
  compute();
  look(Math.min(now.layers.length - 1, deepest()));
  rows[rows.length - 1].inputs.kernel.focus();
}

/** @param {number} i */
function remove(i) {
  now.layers.splice(i, 1);
  buildRows();
  compute();
  look(Math.min(now.chosen, deepest()));
  // The keyboard stays where it was: on the next layer's button, or on the last one's.
  const next = rows[Math.min(i, rows.length - 1)]?.element.querySelector("button");
  (next ?? page.add).focus();
}

/** @param {number} i @param {Part} part @param {string} text */
function edit(i, part, text) {
  const { least, most } = LIMITS[part];
  const value = text.trim() === "" ? NaN : Number(text);
  now.layers[i][part] = Number.isInteger(value) && value >= least && value <= most ? value : NaN;
  compute();
  lookAgain();
}

/** @param {number} i @param {string} kind */
function change(i, kind) {
  const layer = now.layers[i];
  layer.kind = kind;
  if (kind === "AvgPool2d") layer.dilation = 1; // it has none
  if (kind !== "Conv2d" && layer.kernel > 1) layer.stride = layer.kernel; // as PyTorch has it
  for (const part of PARTS) rows[i].inputs[part].value = String(layer[part]);
  compute();
  lookAgain();
}

/** At the same unit, or where its layer no longer works at the last layer that does. */
function lookAgain() {
  if (now.chosen > deepest()) look(deepest());
  else look(now.chosen, now.row, now.column);
}

/**
 * Look at a unit; without row and column at the layer's middle one.
 * @param {number} layer @param {number} [row] @param {number} [column]
 */
function look(layer, row, column) {
  now.chosen = Math.max(0, layer);
  const [, height, width] = now.analysis.layers[now.chosen]?.output_shape ?? [1, 1, 1];
  now.row = within(row ?? Math.floor(height / 2), 0, height - 1);
  now.column = within(column ?? Math.floor(width / 2), 0, width - 1);
  show();
}

/** @param {KeyboardEvent} event */
function steer(event) {
  const { chosen, row, column } = now;
  const [, height, width] = now.analysis.layers[chosen]?.output_shape ?? [1, 1, 1];
  /** @type {Record<string, [number, number?, number?]>} */
  const places = {
    ArrowUp: [chosen, row - 1, column],
    ArrowDown: [chosen, row + 1, column],
    ArrowLeft: [chosen, row, column - 1],
    ArrowRight: [chosen, row, column + 1],
    Home: [chosen, 0, 0],
    End: [chosen, height - 1, width - 1],
    PageUp: [chosen - 1],
    PageDown: [Math.min(chosen + 1, deepest())],
  };
  const place = places[event.key];
  if (!place || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  look(...place);
}

/** The last layer that works. */
function deepest() {
  return now.analysis.layers.length - 1;
}

// --- Computing and showing --------------------------------------------------------------------

function compute() {
  const whole = now.layers.findIndex((layer) => PARTS.some((part) => Number.isNaN(layer[part])));
  const usable = whole === -1 ? now.layers : now.layers.slice(0, whole);
  now.analysis = analyze(usable.map(stepOf), IMAGE);
  rows.forEach((row, i) => showRow(row, i));
  page.add.disabled = now.layers.length >= MOST_LAYERS;
  page.code.textContent = codeOf(usable.slice(0, now.analysis.layers.length));
}

/** @param {Choice} layer @returns {Step} */
function stepOf({ kind, kernel, stride, padding, dilation }) {
  const both = (/** @type {number} */ value) => [value, value];
  return {
    kind,
    window: {
      kernel_size: both(kernel),
      stride: both(stride),
      padding: both(padding),
      dilation: both(dilation),
    },
  };
}

/** @param {Row} row @param {number} i */
function showRow({ layer, inputs, shows, facts, problem, element }, i) {
  const { layers, measures, problem: refused } = now.analysis;
  const works = i < layers.length;
  const wrong = PARTS.find((part) => Number.isNaN(layer[part]));
  let text = "";
  let part = wrong;
  if (wrong) {
    const { least, most } = LIMITS[wrong];
    text = `${wrong}: a whole number from ${least} to ${most}`;
  } else if (i === layers.length && refused) {
    part = /** @type {Part} */ (refused.part);
    text = `${part}: ${refused.text}`;
  }
  problem.textContent = text;
  problem.hidden = !text;
  for (const each of PARTS) {
    inputs[each].toggleAttribute("aria-invalid", false);
    if (each === part && text) inputs[each].setAttribute("aria-invalid", "true");
  }
  inputs.dilation.disabled = layer.kind === "AvgPool2d";
  shows.disabled = !works;
  element.classList.toggle("is-out", !works);
  const values = works ? valuesOf(i) : FACTS.map(() => "–");
  facts.forEach((fact, column) => (fact.textContent = values[column]));

  function valuesOf(/** @type {number} */ at) {
    const [, height, width] = layers[at].output_shape;
    const { size, jump, start } = measures[at];
    return [`${height}×${width}`, `${size[0]}`, `${jump[0]}`, signed(start[0])];
  }
}

function show() {
  const layer = now.analysis.layers[now.chosen];
  rows.forEach(({ shows, element }, i) => {
    shows.checked = Boolean(layer) && i === now.chosen;
    element.classList.toggle("is-chosen", shows.checked);
  });
  page.units.replaceChildren();
  page.frame.setAttribute("visibility", layer ? "visible" : "hidden");
  page.pixels.forEach((pixel) => pixel.classList.remove("is-seen"));
  if (!layer) {
    page.unitsTitle.textContent = "No layer to look at";
    page.seen.textContent = "Add a layer, or mend the one that is marked.";
    return;
  }
  const [, height, width] = layer.output_shape;
  page.unitsTitle.textContent = `Units of ${layer.name}`;
  page.units.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const cell = square(row, column, height > 30 || width > 30 ? 0 : 0.06);
      if (row === now.row && column === now.column) cell.classList.add("is-picked");
      page.units.append(cell);
    }
  }

  const path = now.analysis.layers.slice(0, now.chosen + 1);
  const { rows: seenRows, columns, pixels, box } = seenBy(path, IMAGE, now.row, now.column);
  for (const row of seenRows) {
    for (const column of columns) page.pixels[row * IMAGE[2] + column].classList.add("is-seen");
  }
  const [top, left, bottom, right] = box;
  set(page.frame, { x: left, y: top, width: right - left, height: bottom - top });
  page.seen.replaceChildren(
    ...sentence(layer.name, pixels, box, now.analysis.measures[now.chosen].size[0]),
  );
}

/**
 * @param {string} name @param {number} pixels @param {number[]} box @param {number} size
 * @returns {(string | HTMLElement)[]}
 */
function sentence(name, pixels, [top, left, bottom, right], size) {
  const unit = `Unit (${now.row}, ${now.column}) of ${name}`;
  if (!pixels) return [`${unit} sees `, make("strong", {}, "nothing"), " but padding."];
  const inBox = (bottom - top) * (right - left);
  const holes = pixels < inBox ? ` of ${inBox} in its box; dilation and stride skip the others` : "";
  const cut = bottom - top < size || right - left < size ? ` The border cuts its ${size}×${size} field.` : "";
  return [
    `${unit} sees `,
    make("strong", {}, `${pixels} pixel${pixels === 1 ? "" : "s"}`),
    `${holes}: rows ${top} to ${bottom - 1}, columns ${left} to ${right - 1}.${cut}`,
  ];
}

/** The network as the guide's other cells would write it. @param {Choice[]} layers */
function codeOf(layers) {
  const lines = layers.map(({ kind, kernel, stride, padding, dilation }) => {
    const channels = kind === "Conv2d" ? "1, 1, " : "";
    const usual = kind === "Conv2d" ? 1 : kernel;
    const rest = [
      stride === usual ? "" : `, stride=${stride}`,
      padding ? `, padding=${padding}` : "",
      dilation === 1 ? "" : `, dilation=${dilation}`,
    ];
    return `    nn.${kind}(${channels}${kernel}${rest.join("")}),\n`;
  });
  const size = `(1, ${IMAGE[1]}, ${IMAGE[2]})`;
  return `network = nn.Sequential(\n${lines.join("")})\nreceptive_field.analyze(network, ${size})`;
}

// --- Building the page ------------------------------------------------------------------------

function build() {
  const buttons = make("div", { class: "ex-presets" });
  buttons.append(make("span", {}, "Begin with"));
  for (const stage of Object.keys(presets)) {
    const button = makeButton(`stage ${stage}`, () => usePreset(Number(stage)));
    buttons.append(button);
  }

  const table = withRole("table", "table");
  table.className = "ex-table";
  table.setAttribute("aria-label", "Layers, with size, jump and start of their fields in pixels");
  const head = withRole("thead", "rowgroup");
  const titles = withRole("tr", "row");
  for (const title of ["layer", "kind", ...PARTS, ...FACTS, ""]) {
    const cell = withRole("th", "columnheader", title);
    if (!title) cell.append(make("span", { class: "ex-unseen" }, "remove"));
    titles.append(cell);
  }
  head.append(titles);
  const body = withRole("tbody", "rowgroup");
  table.append(head, body);
  const add_ = makeButton("Add a layer", add);
  add_.className = "ex-add";

  const unitsTitle = make("p", { class: "ex-title" });
  unitsTitle.id = "ex-units-title";
  const units = svg("svg", { class: "ex-grid ex-units", tabindex: 0, role: "application" });
  units.setAttribute("aria-labelledby", "ex-units-title");
  units.setAttribute("aria-describedby", "ex-keys ex-seen");
  units.addEventListener("keydown", (event) => steer(/** @type {KeyboardEvent} */ (event)));
  units.addEventListener("click", (event) => pickAt(/** @type {MouseEvent} */ (event)));
  const keys = make("p", { class: "ex-keys" }, "Click a unit. With the keyboard: arrow keys, Home and End; Page Up and Page Down for another layer.");
  keys.id = "ex-keys";
  const left = make("div", {});
  left.append(unitsTitle, units, keys);

  const [, height, width] = IMAGE;
  const image = svg("svg", {
    class: "ex-grid ex-image", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "The image with the pixels that the picked unit sees; said in words below",
  });
  /** @type {SVGElement[]} */
  const pixels = [];
  digit.forEach((line, row) => {
    [...line].forEach((sign, column) => {
      const pixel = square(row, column, 0.03);
      const ink = sign === "." ? 0 : parseInt(sign, 16) / 15;
      pixel.style.setProperty("--ink", String(ink));
      pixels.push(pixel);
      image.append(pixel);
    });
  });
  const frame = svg("rect", { class: "ex-frame" });
  image.append(frame);
  const seen = make("p", { class: "ex-seen" });
  seen.id = "ex-seen";
  seen.setAttribute("role", "status");
  const right = make("div", {});
  right.append(make("p", { class: "ex-title" }, "Pixels of the image"), image, seen);
  const panels = make("div", { class: "ex-panels" });
  panels.append(left, right);

  const details = make("details", { class: "fold" });
  const code = make("code", {});
  const block = make("pre", {});
  block.tabIndex = 0; // it scrolls
  block.append(code);
  details.append(make("summary", {}, "The same in Python"), block);

  root.replaceChildren(buttons, table, add_, panels, details);
  root.classList.add("is-ready");
  return { body, add: add_, unitsTitle, units, pixels, frame, seen, code };
}

function buildRows() {
  rows = now.layers.map(rowOf);
  page.body.replaceChildren(inputRow(), ...rows.map((row) => row.element));
}

/** What comes before the first layer: each pixel sees itself. */
function inputRow() {
  const row = withRole("tr", "row");
  row.className = "ex-input";
  const values = [`${IMAGE[1]}×${IMAGE[2]}`, "1", "1", "0"];
  row.append(withRole("th", "rowheader", "image"), withRole("td", "cell"));
  for (const part of PARTS) row.append(labelled(part, withRole("td", "cell")));
  FACTS.forEach((fact, i) => row.append(labelled(fact, withRole("td", "cell", values[i]))));
  row.append(withRole("td", "cell"));
  return row;
}

/** @param {Choice} layer @param {number} i @returns {Row} */
function rowOf(layer, i) {
  const name = `layer ${i + 1}`;
  const element = withRole("tr", "row");
  const header = withRole("th", "rowheader");
  const shows = Object.assign(document.createElement("input"), { type: "radio", name: "ex-chosen" });
  shows.addEventListener("change", () => look(i));
  const label = document.createElement("label");
  label.append(shows, make("span", { class: "ex-unseen" }, "show units of layer "), String(i + 1));
  header.append(label);

  const select = document.createElement("select");
  select.setAttribute("aria-label", `kind of ${name}`);
  for (const [kind, words] of Object.entries(KINDS)) select.append(new Option(words, kind));
  select.value = layer.kind;
  select.addEventListener("change", () => change(i, select.value));
  const kindCell = withRole("td", "cell");
  kindCell.className = "ex-kind";
  kindCell.append(select);
  element.append(header, kindCell);

  const inputs = /** @type {Record<Part, HTMLInputElement>} */ ({});
  for (const part of PARTS) {
    const { least, most } = LIMITS[part];
    const input = Object.assign(document.createElement("input"), {
      type: "number", min: String(least), max: String(most), value: String(layer[part]),
    });
    input.inputMode = "numeric";
    input.setAttribute("aria-label", `${part} of ${name}`);
    input.setAttribute("aria-describedby", `ex-problem-${i}`);
    input.addEventListener("input", () => edit(i, part, input.value));
    inputs[part] = input;
    const cell = labelled(part, withRole("td", "cell"));
    cell.append(input);
    element.append(cell);
  }
  const facts = FACTS.map((fact) => {
    const cell = labelled(fact, withRole("td", "cell"));
    cell.classList.add("ex-fact");
    const value = make("span", {});
    cell.append(value);
    element.append(cell);
    return value;
  });

  const last = withRole("td", "cell");
  last.className = "ex-last";
  const button = makeButton("×", () => remove(i));
  button.setAttribute("aria-label", `remove ${name}`);
  const problem = make("p", { class: "ex-problem" });
  problem.id = `ex-problem-${i}`;
  problem.setAttribute("role", "alert");
  problem.hidden = true;
  last.append(button, problem);
  element.append(last);
  return { layer, element, shows, inputs, facts, problem };
}

/** @param {MouseEvent} event */
function pickAt(event) {
  const layer = now.analysis.layers[now.chosen];
  if (!layer) return;
  const [, height, width] = layer.output_shape;
  // The drawing keeps its proportions in the middle of its square.
  const box = page.units.getBoundingClientRect();
  const scale = Math.min(box.width / width, box.height / height);
  const x = event.clientX - box.left - (box.width - width * scale) / 2;
  const y = event.clientY - box.top - (box.height - height * scale) / 2;
  look(now.chosen, Math.floor(y / scale), Math.floor(x / scale));
}

// --- Small helpers ----------------------------------------------------------------------------

/** @param {string} label @param {HTMLElement} cell */
function labelled(label, cell) {
  cell.dataset.label = label;
  return cell;
}

/** @param {string} text @param {() => void} task */
function makeButton(text, task) {
  const button = make("button", { type: "button" }, text);
  button.addEventListener("click", task);
  return button;
}

/** @param {number} row @param {number} column @param {number} gap */
function square(row, column, gap) {
  const side = 1 - 2 * gap;
  return svg("rect", { x: column + gap, y: row + gap, width: side, height: side });
}

/** @param {number} value */
function signed(value) {
  return String(value).replace("-", "−");
}
