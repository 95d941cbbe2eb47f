// @ts-check
/**
 * The playground's page: what the reader does, and what is shown.
 *
 * There is one state (`now`): the network, the image, what the network made of it, and the unit
 * that the reader picked. Every event changes the state and asks for the page to be shown anew.
 */

import { make, signed, within } from "../elements.js";
import { center } from "./center.js";
import { doubts, tooSmall } from "./doubt.js";
import { fields } from "./field.js";
import { bytesOf, readJson } from "./files.js";
import { loadNetwork } from "./network.js";
import { PEN, Pad } from "./pad.js";
import { drawInk, drawMaps, drawSeen, palette, whenThemeChanges } from "./pictures.js";
import { explain } from "./unit.js";

/** @typedef {import("./layers.js").Tensor} Tensor */
/** @typedef {import("./network.js").Layer} Layer */
/** @typedef {import("./network.js").Network} Network */
/** @typedef {{layer: number, map: number, row: number, column: number}} Unit */
/** @typedef {{index: number, label: number, note: string, pixels: string}} Preset */
/** @typedef {{number: number, title: string, parameters: number, test_accuracy: number,
 *             leastEvidence: number}} Stage */
/** @typedef {import("./doubt.js").Usual} Usual */

const now = {
  /** @type {Network | null} */ network: null,
  /** @type {Float32Array} */ pixels: new Float32Array(28 * 28),
  /** @type {Tensor[]} what each layer gave */ outputs: [],
  milliseconds: Infinity, // of the network's fastest pass so far
  /** @type {Unit | null} */ unit: null,
  isPreset: false,
  /** @type {Usual | null} what training digits are like for this network */ usual: null,
};

const page = {
  pad: /** @type {HTMLCanvasElement} */ (element("pg-pad")),
  hint: element("pg-hint"),
  clear: element("pg-clear"),
  advice: element("pg-advice"),
  doubt: element("pg-doubt"),
  presets: element("pg-presets"),
  stage: /** @type {HTMLSelectElement} */ (element("pg-stage")),
  verdict: element("pg-verdict"),
  bars: element("pg-bars"),
  seen: /** @type {HTMLCanvasElement} */ (element("pg-seen")),
  seenText: element("pg-seen-text"),
  layers: element("pg-layers"),
  time: element("pg-time"),
  spoken: element("pg-spoken"),
  problem: element("pg-problem"),
};
const arithmetic = document.createElement("div"); // of the picked unit, below its layer
arithmetic.className = "pg-arithmetic";

const pad = new Pad(page.pad, { onStart: startStroke, onInk: () => later(readPad) });
/** @type {HTMLElement[]} the element with a layer's maps, for each layer */
let strips = [];
/** @type {Map<number, Usual>} by stage, what training digits are like */
const usuals = new Map();

start().catch(complain);

async function start() {
  /** @type {{stages: Stage[], default: number, presets: Preset[],
   *          usual: Omit<Usual, "leastEvidence">}} */
  const { stages, default: first, presets, usual } = await readJson("playground.json");
  for (const { number, leastEvidence } of stages) usuals.set(number, { ...usual, leastEvidence });
  for (const stage of stages) page.stage.append(optionOf(stage));
  page.stage.value = String(first);
  const buttons = presets.map((preset) => buttonOf(preset));
  page.presets.replaceChildren(...buttons);
  page.stage.addEventListener("change", () => choose(Number(page.stage.value)).catch(complain));
  page.clear.addEventListener("click", clear);
  whenThemeChanges(() => {
    buttons.forEach((button, i) => drawPreset(button, presets[i]));
    show();
  });
  usePreset(presets[3]);
  await choose(first);
}

// --- What the reader does ---------------------------------------------------------------------

/**
 * Fetch a stage's network and run it on the image that is there.
 * @param {number} stage
 */
async function choose(stage) {
  page.layers.setAttribute("aria-busy", "true");
  const network = await loadNetwork(`stage-${stage}`);
  if (Number(page.stage.value) !== stage) return; // the reader chose again in the meantime
  now.network = network;
  now.usual = usuals.get(stage) ?? null;
  now.milliseconds = Infinity;
  now.unit = null;
  strips = buildLayers(network.layers);
  page.layers.removeAttribute("aria-busy");
  page.problem.hidden = true;
  compute();
}

/** The first stroke on an example replaces it. */
function startStroke() {
  if (now.isPreset) pad.clear();
  now.isPreset = false;
}

function readPad() {
  if (now.isPreset) return;
  const ink = pad.ink();
  page.advice.textContent = tooSmall(ink, PEN);
  setImage(center(ink));
}

function clear() {
  pad.clear();
  now.isPreset = false;
  page.advice.textContent = "";
  setImage(new Float32Array(28 * 28));
}

/** @param {Preset} preset */
function usePreset(preset) {
  const pixels = pixelsOf(preset);
  pad.show(pixels);
  now.isPreset = true;
  page.advice.textContent = "";
  setImage(pixels); // as it is: it comes from MNIST
}

/** @param {Float32Array} pixels */
function setImage(pixels) {
  now.pixels = pixels;
  compute();
}

function compute() {
  if (!now.network) return;
  const before = performance.now();
  now.outputs = now.network.forward(now.pixels);
  now.milliseconds = Math.min(now.milliseconds, performance.now() - before);
  show();
}

/** @param {Unit | null} unit */
function pick(unit) {
  now.unit = unit;
  showField(palette());
  speak(page.seenText.textContent ?? "");
}

/**
 * Move the picked unit with the keyboard.
 * @param {KeyboardEvent} event @param {number} layer
 */
function steer(event, layer) {
  const moves = { ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0], ArrowLeft: [0, 0, -1],
    ArrowRight: [0, 0, 1], PageUp: [-1, 0, 0], PageDown: [1, 0, 0] }; // prettier-ignore
  if (event.key === "Escape") return pick(null);
  const move = moves[/** @type {keyof typeof moves} */ (event.key)];
  if (!move) return;
  event.preventDefault(); // the page would scroll
  const unit = now.unit?.layer === layer ? now.unit : middleOf(layer);
  const { maps, height, width } = sizeOf(now.outputs[layer]);
  pick({
    layer,
    map: (unit.map + move[0] + maps) % maps,
    row: Math.max(0, Math.min(height - 1, unit.row + move[1])),
    column: Math.max(0, Math.min(width - 1, unit.column + move[2])),
  });
}

/** @param {number} layer @returns {Unit} */
function middleOf(layer) {
  const { height, width } = sizeOf(now.outputs[layer]);
  return { layer, map: 0, row: Math.floor(height / 2), column: Math.floor(width / 2) };
}

// --- What is shown ----------------------------------------------------------------------------

function show() {
  const colors = palette();
  const empty = now.pixels.every((ink) => ink === 0);
  page.hint.hidden = !empty;
  now.outputs.forEach((tensor, layer) => drawMaps(canvasesOf(strips[layer]), tensor, colors));
  showAnswer(empty);
  showField(colors);
}

/**
 * The ten probabilities, and the digit with the largest.
 * @param {boolean} empty whether there is no ink: a network has an answer even then
 */
function showAnswer(empty) {
  const logProbabilities = now.outputs.at(-1)?.data;
  if (!logProbabilities) return;
  const probabilities = Array.from(logProbabilities, Math.exp);
  const best = probabilities.indexOf(Math.max(...probabilities));
  if (!page.bars.children.length) page.bars.append(...probabilities.map((_, i) => barOf(i)));
  probabilities.forEach((probability, digit) => {
    const bar = /** @type {HTMLElement} */ (page.bars.children[digit]);
    bar.style.setProperty("--probability", empty ? "0" : probability.toFixed(4));
    bar.classList.toggle("is-best", !empty && digit === best);
    bar.dataset.percent = empty || probability < 0.005 ? "" : (100 * probability).toFixed(0);
    bar.querySelectorAll("span")[1].textContent = empty ? "" : percent(probability);
  });
  const answer = `${best}, ${percent(probabilities[best])}`;
  page.verdict.textContent = empty ? "–" : answer;
  page.time.textContent = `${now.milliseconds.toFixed(1)} ms`;
  speak(empty ? "No digit." : `The network reads ${answer}.`);
  page.doubt.textContent = "";
  clearTimeout(thought);
  if (!empty) thought = setTimeout(() => showDoubts(answer), 250);
}

let thought = 0;

/** Once the pen rests: it takes nine passes. @param {string} answer */
function showDoubts(answer) {
  const { network, usual, pixels } = now;
  if (!network || !usual) return;
  const found = doubts(pixels, (image) => network.forward(image), usual);
  if (!found.length) return;
  page.doubt.textContent =
    `Doubt this ${answer}: ${found.join(", and ")}. The network cannot say "none of them": it ` +
    "spreads 100 % over ten digits, whatever it is shown.";
  speak(`The network reads ${answer}. ${page.doubt.textContent}`);
}

/**
 * The picked unit, what it sees of every layer before it, and what it sees of the image.
 * @param {import("./pictures.js").Palette} colors
 */
function showField(colors) {
  const { unit, network } = now;
  for (const strip of strips) markNothing(strip);
  arithmetic.remove();
  if (!unit || !network) {
    drawSeen(page.seen, now.pixels, null, colors);
    page.seenText.textContent = "This is what the network gets: your digit, scaled and centred.";
    return;
  }
  const path = network.layers.slice(0, unit.layer + 1);
  const seen = fields(path, network.description.input_shape, unit.row, unit.column);
  path.forEach((layer, i) => mark(strips[i], layer.output_shape, seen[i + 1]));
  strips[unit.layer].children[unit.map].classList.add("is-picked");
  strips[unit.layer].classList.add("has-picked");
  drawSeen(page.seen, now.pixels, seen[0], colors);
  page.seenText.replaceChildren(...describe(unit, seen[0]));
  const input = now.outputs[unit.layer - 1] ?? network.normalized(now.pixels);
  const opened = arithmetic.querySelector("details")?.open ?? false;
  arithmetic.replaceChildren(
    ...explain(network.layers[unit.layer], input, now.outputs[unit.layer], unit),
  );
  const details = arithmetic.querySelector("details");
  if (details) details.open = opened;
  strips[unit.layer].after(arithmetic);
}

/**
 * Frame a field in all maps of a layer; the style sheet draws the frame from these four numbers.
 * @param {HTMLElement} strip @param {number[]} shape @param {import("./field.js").Field} field
 */
function mark(strip, shape, field) {
  const [height, width] = shape.length === 3 ? shape.slice(1) : [1, 1];
  const place = {
    top: field.rows[0] / height,
    left: field.columns[0] / width,
    bottom: 1 - ((field.rows.at(-1) ?? 0) + 1) / height,
    right: 1 - ((field.columns.at(-1) ?? 0) + 1) / width,
  };
  for (const [side, part] of Object.entries(place)) {
    strip.style.setProperty(`--field-${side}`, `${100 * part}%`);
  }
  strip.classList.add("has-field");
}

/** @param {HTMLElement} strip */
function markNothing(strip) {
  strip.classList.remove("has-field", "has-picked");
  strip.querySelector(".is-picked")?.classList.remove("is-picked");
}

/**
 * A unit in words.
 * @param {Unit} unit @param {import("./field.js").Field} field @returns {Node[]}
 */
function describe(unit, field) {
  const tensor = now.outputs[unit.layer];
  const { height, width } = sizeOf(tensor);
  const value = tensor.data[(unit.map * height + unit.row) * width + unit.column];
  const name = make("strong", {}, now.network?.layers[unit.layer].name ?? "");
  const place =
    tensor.shape.length === 3
      ? `map ${unit.map + 1}, row ${unit.row + 1}, column ${unit.column + 1}`
      : `number ${unit.map + 1}`;
  const size = `${field.rows.length}\u00a0×\u00a0${field.columns.length}`; // kept on one line
  const text = `, ${place}, is ${signed(value)}. It sees ${size} of the 28\u00a0×\u00a028 pixels.`;
  return [name, document.createTextNode(text)];
}

// --- Building blocks of the page --------------------------------------------------------------

/** @param {Stage} stage */
function optionOf({ number, title, parameters, test_accuracy }) {
  const size = `${parameters.toLocaleString("en")} parameters`;
  return new Option(`${number}: ${title} (${size}, ${test_accuracy.toFixed(2)} %)`, String(number));
}

/** @param {Preset} preset */
function buttonOf(preset) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = `Test digit ${preset.index}: ${preset.note}`;
  button.setAttribute("aria-label", button.title);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  button.append(canvas);
  drawPreset(button, preset);
  button.addEventListener("click", () => usePreset(preset));
  return button;
}

/** @param {HTMLElement} button @param {Preset} preset */
function drawPreset(button, preset) {
  drawInk(canvasesOf(button)[0], pixelsOf(preset), palette());
}

/** @param {number} digit */
function barOf(digit) {
  const bar = document.createElement("li");
  bar.append(make("span", {}, String(digit)), make("span", {}));
  return bar;
}

/**
 * A section for each layer, with a canvas for each of its maps.
 * @param {Layer[]} layers @returns {HTMLElement[]} the elements that hold the canvases
 */
function buildLayers(layers) {
  const inputShape = now.network?.description.input_shape ?? [];
  const sections = layers.map((layer, i) => {
    const section = document.createElement("section");
    section.append(titleOf(layer, layers.slice(0, i + 1), inputShape), stripOf(layer, i));
    return section;
  });
  page.layers.replaceChildren(...sections);
  return sections.map((section) => /** @type {HTMLElement} */ (section.querySelector(".pg-maps")));
}

/** @param {Layer} layer @param {Layer[]} path @param {number[]} inputShape */
function titleOf(layer, path, inputShape) {
  const [maps, height, width] = layer.output_shape;
  const [row, column] = [height ?? 1, width ?? 1].map((size) => Math.floor(size / 2));
  const middle = fields(path, inputShape, row, column)[0];
  const facts = [
    width ? `${maps} × ${height} × ${width}` : `${maps} numbers`,
    layer.params ? `${layer.params.toLocaleString("en")} parameters` : "",
    `sees ${middle.rows.length} × ${middle.columns.length}`,
  ];
  const title = document.createElement("h3");
  const figures = make("small", {}, facts.filter(Boolean).join(" · "));
  title.append(make("code", {}, layer.name), " ", make("span", {}, inWords(layer)), " ", figures);
  return title;
}

/** @param {Layer} layer */
function inWords({ kind, attributes }) {
  const window = attributes.kernel_size?.join("×");
  /** @type {Record<string, string>} */
  const words = {
    Conv2d: `${window} convolution`,
    BatchNorm2d: "batch normalization",
    ReLU: "ReLU",
    MaxPool2d: `largest of ${window}`,
    AvgPool2d: `mean of ${window}`,
    AdaptiveAvgPool2d: "mean of each map",
    Flatten: "maps to a vector",
    LogSoftmax: "logarithms of probabilities",
  };
  return words[kind];
}

/**
 * A layer's maps in a row. One tab stop for all of them; the arrow keys go from unit to unit.
 * @param {Layer} layer @param {number} i
 */
function stripOf(layer, i) {
  const [maps, height = 1, width = 1] = layer.output_shape;
  const strip = document.createElement("div");
  strip.className = "pg-maps";
  strip.tabIndex = 0;
  strip.setAttribute("role", "application"); // arrow keys are ours, not the screen reader's
  strip.setAttribute("aria-label", `Units of ${layer.name}`);
  strip.setAttribute("aria-describedby", "pg-keys");
  strip.style.setProperty("--units", String(width));
  for (let map = 0; map < maps; map++) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const frame = document.createElement("div");
    frame.append(canvas);
    frame.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / box.height) * height);
      const column = Math.floor(((event.clientX - box.left) / box.width) * width);
      pick({ layer: i, map, row: within(row, 0, height - 1), column: within(column, 0, width - 1) });
    });
    strip.append(frame);
  }
  strip.addEventListener("keydown", (event) => steer(event, i));
  strip.addEventListener("focus", () => {
    // Focused by the keyboard, not by the click that picks a unit itself.
    if (strip.matches(":focus-visible") && now.unit?.layer !== i) pick(middleOf(i));
  });
  return strip;
}

// --- Small helpers ----------------------------------------------------------------------------

/** @param {string} id @returns {HTMLElement} */
function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

/** @param {Element} parent */
function canvasesOf(parent) {
  return Array.from(parent.querySelectorAll("canvas"));
}

/** @param {Tensor} tensor maps, or a vector: then each number counts as a map of one unit */
function sizeOf({ shape: [maps, height = 1, width = 1] }) {
  return { maps, height, width };
}

/** @param {Preset} preset */
function pixelsOf(preset) {
  return Float32Array.from(bytesOf(preset.pixels), (byte) => byte / 255);
}

/** @param {number} probability */
function percent(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

/** @type {Set<() => void>} */
const waiting = new Set();

/**
 * Run `task` before the next frame is shown, once, however often it was asked for.
 * @param {() => void} task
 */
function later(task) {
  if (waiting.has(task)) return;
  waiting.add(task);
  requestAnimationFrame(() => {
    waiting.delete(task);
    task();
  });
}

let pause = 0;

/**
 * Tell readers who listen, once the page has been still for a moment: not at every stroke.
 * @param {string} text
 */
function speak(text) {
  clearTimeout(pause);
  pause = setTimeout(() => (page.spoken.textContent = text), 900);
}

/** @param {unknown} error */
function complain(error) {
  const { message } = /** @type {Error} */ (error);
  page.problem.textContent = `The playground cannot go on: ${message}.`;
  page.layers.removeAttribute("aria-busy");
  page.problem.hidden = false;
  if (now.network) page.stage.value = String(now.network.description.stage); // it is still there
}
