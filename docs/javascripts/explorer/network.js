// @ts-check
/**
 * A small network that the reader puts together, and the fields of its units: the calculator's
 * twin for networks that are a chain of convolutions and poolings. A test compares both on the
 * networks of tests/helpers/receptive_field_cases.json.
 */

import { fields, measures } from "../playground/field.js";
import { places } from "../playground/layers.js";

/** @typedef {import("../playground/layers.js").Window} Window */
/** @typedef {import("../playground/field.js").Measures} Measures */
/** @typedef {{kind: string, window: Window}} Step one layer, by its name in torch.nn */
/** @typedef {{name: string, kind: string, attributes: Window, output_shape: number[],
 *             params: number, weights: {}}} Layer as the playground's */
/** @typedef {{part: string, text: string}} Problem what is wrong, and with which part of a window */
/** @typedef {{layers: Layer[], measures: Measures[], problem: Problem | null}} Analysis */

/**
 * The layers, up to the first that cannot work, with size, jump and start of each.
 * @param {Step[]} steps @param {number[]} inputShape [channels, height, width]
 * @returns {Analysis} `problem` is that of the first layer which is not among `layers`
 */
export function analyze(steps, inputShape) {
  /** @type {Layer[]} */
  const layers = [];
  let shape = inputShape;
  let problem = null;
  for (const { kind, window } of steps) {
    problem = problemOf(kind, window, shape);
    if (problem) break;
    shape = [1, places(shape[1], window, 0), places(shape[2], window, 1)];
    const name = `layer ${layers.length + 1}`;
    layers.push({ name, kind, attributes: window, output_shape: shape, params: 0, weights: {} });
  }
  return { layers, measures: measures(layers), problem };
}

/**
 * What one unit sees: its rows and columns in the image, how many pixels those are, and its box
 * [top, left, bottom, right], half-open; all zero when it sees nothing but padding.
 * @param {Layer[]} layers from the first to the unit's own @param {number[]} inputShape
 * @param {number} row @param {number} column
 */
export function seenBy(layers, inputShape, row, column) {
  const { rows, columns } = fields(layers, inputShape, row, column)[0];
  const pixels = rows.length * columns.length;
  const box = pixels
    ? [rows[0], columns[0], rows[rows.length - 1] + 1, columns[columns.length - 1] + 1]
    : [0, 0, 0, 0];
  return { rows, columns, pixels, box };
}

/**
 * Why a layer cannot stand here, or null when it can. The limits are PyTorch's.
 * @param {string} kind @param {Window} window @param {number[]} shape of what the layer gets
 * @returns {Problem | null}
 */
export function problemOf(kind, window, shape) {
  for (const axis of [0, 1]) {
    const kernel = window.kernel_size[axis];
    const padding = window.padding[axis];
    const dilation = window.dilation?.[axis] ?? 1;
    if (kind !== "Conv2d" && 2 * padding > kernel) {
      const most = Math.floor(kernel / 2);
      return { part: "padding", text: `a pooling of ${kernel} takes a padding of ${most} at most` };
    }
    const spans = dilation * (kernel - 1) + 1;
    const there = shape[1 + axis] + 2 * padding;
    if (spans > there) {
      const of = padding ? `${there} with the padding` : `${there}`;
      return { part: "kernel", text: `the kernel spans ${spans}, but its input only ${of}` };
    }
  }
  return null;
}
