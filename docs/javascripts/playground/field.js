// @ts-check
/**
 * The pixels that a unit sees.
 *
 * A unit of a layer looks at a few neighbouring units of the layer below; each of those looks at
 * a few of the layer below it; and so on, down to the pixels. Rows and columns do not mix on the
 * way, so each axis is followed by itself.
 */

import { share } from "./layers.js";

/** @typedef {import("./network.js").Layer} Layer */
/** @typedef {{rows: number[], columns: number[]}} Field */
/** @typedef {{size: number[], jump: number[], start: number[]}} Measures */

/**
 * What one unit sees of the image and of each layer's output on the way.
 * @param {Layer[]} layers from the first to the unit's own
 * @param {number[]} inputShape of the image: [channels, height, width]
 * @param {number} row of the unit in its map @param {number} column
 * @returns {Field[]} the first is for the image, the last for the unit's own layer
 */
export function fields(layers, inputShape, row, column) {
  const shapes = [inputShape, ...layers.map((layer) => layer.output_shape)];
  /** @type {Field[]} */
  const found = [{ rows: [row], columns: [column] }];
  for (let i = layers.length - 1; i >= 0; i--) {
    const above = found[0];
    found.unshift({
      rows: below(layers[i], above.rows, shapes[i], 0),
      columns: below(layers[i], above.columns, shapes[i], 1),
    });
  }
  return found;
}

/**
 * Along one axis (0 for rows, 1 for columns): the places of a layer's input that at least one of
 * the given places of its output looks at.
 * @param {Layer} layer @param {number[]} outputs @param {number[]} shape of the layer's input
 * @param {number} axis
 * @returns {number[]} in ascending order
 */
export function below(layer, outputs, shape, axis) {
  const size = shape.length === 1 ? 1 : shape[1 + axis];
  const { kernel_size, stride, padding, dilation, output_size } = layer.attributes;
  const seen = new Set();
  for (const output of outputs) {
    if (layer.kind === "LogSoftmax" || layer.kind === "Flatten") {
      // Every probability hangs on all scores. A vector has no rows and columns; before it, in
      // these networks, come maps of one unit each.
      for (let i = 0; i < size; i++) seen.add(i);
    } else if (kernel_size) {
      // The window's place, then the kernel's cells; what lies on the padding is no unit.
      const first = output * stride[axis] - padding[axis];
      for (let cell = 0; cell < kernel_size[axis]; cell++) {
        const place = first + cell * (dilation?.[axis] ?? 1);
        if (place >= 0 && place < size) seen.add(place);
      }
    } else if (output_size) {
      const [first, end] = share(output, output_size[axis], size);
      for (let i = first; i < end; i++) seen.add(i);
    } else {
      seen.add(output); // batch normalization and ReLU look at their own place only
    }
  }
  return [...seen].sort((a, b) => a - b);
}

/**
 * Size, jump and start of each layer's fields, as [vertical, horizontal], in pixels; as if the
 * image went on beyond its borders. For layers with a window, and for those that look at their
 * own place only.
 * @param {Pick<Layer, "name" | "kind" | "attributes">[]} layers from the first on
 * @returns {Measures[]} one for each layer
 */
export function measures(layers) {
  /** @type {Measures} */
  let now = { size: [1, 1], jump: [1, 1], start: [0, 0] };
  return layers.map(({ name, kind, attributes }) => {
    const { kernel_size, stride, padding, dilation = [1, 1] } = attributes;
    if (kernel_size) {
      const { size, jump, start } = now;
      now = {
        // Each further cell of the kernel adds as many jumps as it lies from its neighbour.
        size: size.map((pixels, axis) => pixels + (kernel_size[axis] - 1) * dilation[axis] * jump[axis]),
        // A stride leaves units out, for all layers that follow.
        jump: jump.map((pixels, axis) => pixels * stride[axis]),
        start: start.map((pixel, axis) => pixel - padding[axis] * jump[axis]),
      };
    } else if (kind !== "BatchNorm2d" && kind !== "ReLU") {
      throw new Error(`${name}: the fields of a ${kind} have no size and jump of their own`);
    }
    return now;
  });
}
