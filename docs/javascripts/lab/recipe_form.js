// @ts-check
/**
 * The recipe: its numbers, the curve of the learning rate, and digits as the network will get them.
 */

import { make, svg } from "../elements.js";
import { resample } from "../figures/resample.js";
import { bytesOf } from "../playground/files.js";
import { SETTINGS, SIDE } from "./design.js";
import { drawMap } from "./augmentation.js";
import { Random } from "./random.js";
import { button, numberIn } from "./rows.js";
import { ratesAt } from "./schedule.js";

/** @typedef {import("./design.js").Recipe} Recipe */
/** @typedef {import("./design.js").Analysis} Analysis */
/** @typedef {{label: number, pixels: string}} Digit 28 × 28 bytes in base64 */
/** @typedef {(recipe: Recipe, what: {said: string, typing?: string}) => void} Change */

const POINTS = 120; // of a curve
const WIDTH = 300, HEIGHT = 110; // of the drawing

/** The fields in their groups, with what a label does not say. @type {[string, [string, string][]][]} */
const GROUPS = [
  ["Steps", [["epochs", ""], ["batchSize", "images"], ["weightDecay", ""]]],
  ["Learning rate", [["schedule", ""], ["learningRate", ""], ["peak", ""], ["momentum", ""]]],
  [
    "Augmentation",
    [["rotation", "± degrees"], ["shift", "± pixels"], ["crop", "least share of the area"],
     ["centerCrop", "how often"]],
  ],
];

/**
 * @param {HTMLElement} place @param {Digit[]} digits @param {Change} change
 * @returns {{show: (recipe: Recipe, analysis: Analysis) => void}}
 */
export function mountRecipe(place, digits, change) {
  /** @type {Recipe} */
  let recipe;
  let seed = 1;
  /** @type {Record<string, {line: HTMLElement, input: HTMLInputElement | HTMLSelectElement}>} */
  const fields = {};
  const form = make("div", { class: "lab-recipe" });
  for (const [title, names] of GROUPS) {
    const group = make("fieldset", {}, make("legend", {}, title));
    for (const [name, unit] of names) group.append(field(name, unit));
    form.append(group);
  }
  const note = make("p", { class: "lab-note is-fatal", id: "lab-recipe-note" });
  const views = make("input", { type: "checkbox", id: "lab-views" });
  views.addEventListener("change", () => {
    const testShifts = views.checked ? 1 : 0;
    set({ testShifts, shiftedEpochs: 1 }, `nine views ${views.checked ? "on" : "off"}`);
  });
  const viewsText = make("label", { for: "lab-views" });
  const rate = make("figure", { class: "lab-rate" });
  const canvases = digits.map(() => make("canvas", { width: `${SIDE}`, height: `${SIDE}` }));
  const shown = make("div", { class: "lab-digits", role: "img" }, ...canvases);
  const again = button("Draw others", () => {
    seed++;
    showDigits();
  });
  const examples = make(
    "figure", {}, shown,
    make("figcaption", {}, "Training images as they will come, moved anew each time. ", again),
  );
  place.append(form, note, make("p", { class: "lab-views" }, views, viewsText), make("div", { class: "lab-figures" }, rate, examples));

  /** @param {string} name @param {string} unit */
  function field(name, unit) {
    const id = `lab-${name}`;
    const words = name === "schedule" ? "schedule" : SETTINGS[name].words;
    const input = name === "schedule" ? make("select", { id }) : make("input", { id, type: "number" });
    if (input instanceof HTMLSelectElement) {
      input.append(new Option("constant"), new Option("one cycle", "one-cycle"));
      input.addEventListener("change", () => set({ schedule: input.value }, `schedule ${input.value}`));
    } else {
      const { least, most, multiple, step } = SETTINGS[name];
      Object.assign(input, { min: least, max: most, step: step ?? multiple ?? 1, inputMode: "decimal" });
      input.setAttribute("aria-describedby", "lab-recipe-note");
      input.addEventListener("input", () => {
        const value = numberIn(input);
        set({ [name]: value }, Number.isNaN(value) ? "" : `${words} ${value}`, name);
      });
    }
    const label = make("label", { for: id }, words);
    if (unit) label.append(" ", make("small", {}, unit));
    const line = make("div", {}, label, input);
    fields[name] = { line, input };
    return line;
  }

  /** @param {object} part @param {string} said @param {string} [typing] */
  function set(part, said, typing) {
    change({ ...recipe, ...part }, { said: said && `${said}.`, typing });
  }

  /** @param {Recipe} next @param {Analysis} analysis */
  function show(next, { problems }) {
    recipe = next;
    const wrong = problems.filter(({ part }) => part && part in fields && part !== "field");
    const numbers = /** @type {Record<string, any>} */ (recipe);
    for (const [name, { input }] of Object.entries(fields)) {
      if (input instanceof HTMLSelectElement) input.value = numbers[name];
      else if (!Object.is(numberIn(input), numbers[name])) input.value = `${numbers[name]}`;
      if (wrong.some(({ part }) => part === name)) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    const oneCycle = recipe.schedule === "one-cycle";
    fields.peak.line.hidden = !oneCycle;
    fields.learningRate.line.hidden = fields.momentum.line.hidden = oneCycle;
    note.textContent = wrong.map(({ text }) => text).join("; ");
    note.hidden = !wrong.length;
    views.checked = recipe.testShifts > 0;
    const often = recipe.shiftedEpochs > 1 ? `after each of the last ${recipe.shiftedEpochs} epochs` : "at the end";
    viewsText.textContent = ` Judge by nine views, shifted by a pixel, ${often}; the assignment's grader takes one.`;
    if (wrong.length) return; // curve and digits stay what they were
    rate.replaceChildren(...curve(recipe));
    showDigits();
  }

  function showDigits() {
    const random = new Random(seed);
    digits.forEach(({ pixels }, i) => {
      const [a, b, c, d, e, f] = drawMap(recipe, () => random.next());
      draw(canvases[i], resample(bytesOf(pixels), [[a, b, c], [d, e, f]]));
    });
    const labels = digits.map(({ label }) => label).join(", ");
    shown.setAttribute("aria-label", `The digits ${labels} after augmentation`);
  }

  return { show };
}

/** Ink on paper, in the colours of the page. @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} bytes */
function draw(canvas, bytes) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const image = context.createImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i++) image.data[4 * i + 3] = bytes[i];
  context.putImageData(image, 0, 0); // black; the style sheet turns it light on dark
}

/** The rate over all epochs, and the momentum where it moves. @param {Recipe} recipe */
function curve(recipe) {
  const steps = POINTS;
  const rates = Array.from({ length: steps }, (_, step) => ratesAt(recipe, step, steps));
  const most = Math.max(...rates.map(({ learningRate }) => learningRate));
  const moves = recipe.schedule === "one-cycle";
  const words = moves
    ? `The learning rate rises from ${short(rates[0].learningRate)} to ${short(most)}, then falls to nearly 0; the momentum (dashed) goes from ${rates[0].momentum} to ${Math.min(...rates.map(({ momentum }) => momentum)).toFixed(2)} and back.`
    : `The learning rate stays at ${short(most)}, the momentum at ${recipe.momentum}.`;
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words });
  drawing.append(line(rates.map(({ learningRate }) => learningRate / most), "lab-curve-rate"));
  if (moves) drawing.append(line(rates.map(({ momentum }) => momentum), "lab-curve-momentum"));
  const end = `${recipe.epochs} epoch${recipe.epochs === 1 ? "" : "s"}`;
  const axis = make("p", { class: "lab-axis", "aria-hidden": "true" }, make("span", {}, "start"), make("span", {}, end));
  return [drawing, axis, make("figcaption", {}, words)];
}

/** @param {number[]} values from 0 to 1 @param {string} className */
function line(values, className) {
  const points = values.map((value, i) => {
    const x = (i / (values.length - 1)) * WIDTH, y = HEIGHT - 4 - value * (HEIGHT - 8);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  return svg("polyline", { points: points.join(" "), class: className });
}

/** @param {number} value */
const short = (value) => `${Number(value.toPrecision(2))}`;
