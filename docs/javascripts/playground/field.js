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
