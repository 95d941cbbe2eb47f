// @ts-check
/**
 * A picked unit's arithmetic on the page: patch times kernel, map by map, or whatever else its
 * layer does to the numbers that it takes.
 */

import { make, signed } from "../elements.js";
import { convolved, patchOf } from "./arithmetic.js";
import { share } from "./layers.js";

/** @typedef {import("./layers.js").Tensor} Tensor */
/** @typedef {import("./network.js").Layer & {tensors: any}} Layer */
/** @typedef {{map: number, row: number, column: number}} Unit */

const WRITTEN = 16; // a larger window's numbers are shown as colours only
const SHOWN = 4; // maps that are shown at once: those that add the most

/**
 * @param {Layer} layer @param {Tensor} input what the layer took
 * @param {Tensor} output what it gave @param {Unit} unit
 * @returns {(Node | string)[]}
 */
export function explain(layer, input, output, unit) {
  const [, height = 1, width = 1] = output.shape;
  const value = output.data[(unit.map * height + unit.row) * width + unit.column];
  const same = input.data[(unit.map * height + unit.row) * width + unit.column];
  const { attributes, tensors, kind } = layer;
  switch (kind) {
    case "Conv2d":
      return explainConvolution(convolved(input, tensors, attributes, unit), attributes);
    case "BatchNorm2d": {
      const [mean, variance, weight, bias] = ["running_mean", "running_var", "weight", "bias"].map(
        (name) => tensors[name].data[unit.map],
      );
      return [
        line(
          `(${signed(same)} − ${bracketed(mean)}) / √(${signed(variance)} + ε) · ` +
            `${bracketed(weight)} + ${bracketed(bias)} = ${signed(value)}`,
        ),
        note(
          "Minus the mean and divided by the standard deviation of this map, both measured while " +
            "training; then times γ, plus β, both learnt.",
        ),
      ];
    }
    case "ReLU":
      return [line(`max(0, ${signed(same)}) = ${signed(value)}`)];
    case "MaxPool2d": {
      const patch = patchOf(input, unit.map, unit.row, unit.column, attributes);
      const window = grid(patch, attributes.kernel_size[1]);
      return [figureOf(window), line(`The largest: ${signed(value)}`)];
    }
    case "AvgPool2d": {
      const patch = patchOf(input, unit.map, unit.row, unit.column, attributes);
      return meanOf(patch, attributes.kernel_size[1], value);
    }
    case "AdaptiveAvgPool2d": {
      const [top, bottom] = share(unit.row, height, input.shape[1]);
      const [left, right] = share(unit.column, width, input.shape[2]);
      const window = { kernel_size: [bottom - top, right - left], stride: [1, 1], padding: [0, 0] };
      return meanOf(patchOf(input, unit.map, top, left, window), right - left, value);
    }
    case "LogSoftmax": {
      const sum = input.data.reduce((total, score) => total + Math.exp(score), 0);
      const score = input.data[unit.map];
      return [
        line(
          `${signed(score)} − log(sum of e^score over all ten) = ` +
            `${signed(score)} − ${bracketed(Math.log(sum))} = ${signed(value)}`,
        ),
        note(`e^${signed(value)} is a probability of ${(100 * Math.exp(value)).toFixed(1)} %.`),
      ];
    }
    default:
      return [line(`The same number as before: ${signed(value)}`)];
  }
}

/**
 * @param {ReturnType<typeof convolved>} found @param {import("./layers.js").Window} window
 */
function explainConvolution({ parts, bias, total }, window) {
  const order = parts.map((_, i) => i);
  order.sort((a, b) => Math.abs(parts[b].sum) - Math.abs(parts[a].sum));
  const items = order.map((i) => {
    const { patch, kernel, sum } = parts[i];
    const side = window.kernel_size[1];
    return make(
      "li", {},
      make("span", { class: "pg-of" }, `map ${i + 1}`),
      grid(patch, side), sign("×"), grid(kernel, side), sign("="), make("b", {}, signed(sum)),
    );
  });
  const terms = parts.map(({ sum }) => bracketed(sum)).join(" + ");
  const rest = items.slice(SHOWN);
  const more = make(
    "details", {}, make("summary", {}, `The other ${rest.length} maps`),
    make("ul", { class: "pg-parts" }, ...rest),
  );
  const each = parts.length > 1 ? ", for each map below; those that add the most first" : "";
  return [
    note(`Patch × kernel, number by number, and their sum${each}.`),
    make("ul", { class: "pg-parts" }, ...items.slice(0, SHOWN)),
    ...(rest.length ? [more] : []),
    line(`${terms}${bias === null ? "" : ` + bias ${bracketed(bias)}`} = ${signed(total)}`),
  ];
}

/** @param {(number | null)[]} patch @param {number} side @param {number} value */
function meanOf(patch, side, value) {
  const said = `The mean of these ${patch.length} numbers: ${signed(value)}`;
  return [figureOf(grid(patch, side)), line(said)];
}

/** Numbers in rows, each in its colour. @param {(number | null)[]} values @param {number} side */
function grid(values, side) {
  const most = Math.max(...values.map((value) => Math.abs(value ?? 0)), 1e-9);
  const written = values.length <= WRITTEN;
  const cells = values.map((value) => {
    const cell = make("span", {}, !written ? "" : value === null ? "·" : signed(value));
    cell.classList.toggle("is-negative", (value ?? 0) < 0);
    const strength = ((written ? 45 : 100) * Math.abs(value ?? 0)) / most;
    cell.style.setProperty("--part", `${Math.round(strength)}%`);
    return cell;
  });
  const label = values.map((value) => (value === null ? "padding" : signed(value))).join(", ");
  const kind = written ? "pg-grid" : "pg-grid is-small";
  const made = make("span", { class: kind, role: "img", "aria-label": label }, ...cells);
  made.style.setProperty("--side", `${side}`);
  return made;
}

/** @param {Node} content */
function figureOf(content) {
  return make("p", {}, content);
}

/** @param {string} text */
function sign(text) {
  return make("span", { class: "pg-sign" }, text);
}

/** @param {string} text */
function line(text) {
  return make("p", { class: "pg-line" }, text);
}

/** @param {string} text */
function note(text) {
  return make("p", { class: "pg-note" }, text);
}

/** @param {number} value */
function bracketed(value) {
  return value < -0.005 ? `(${signed(value)})` : signed(value);
}
