// @ts-check
/**
 * Weights to begin with, from the distributions that torch.nn.Conv2d draws its own from: weight and
 * bias are uniform within one divided by the square root of how many numbers a unit reads.
 */

import { tensorsOf } from "../engine/description.js";

/** @typedef {import("../engine/description.js").Layer} Layer */

/**
 * The convolutions' tensors by name. Batch normalization begins as it is: with ones and zeros.
 * @param {Layer[]} layers @param {() => number} uniform from 0 to below 1
 * @returns {Record<string, Float32Array>}
 */
export function initialWeights(layers, uniform) {
  /** @type {Record<string, Float32Array>} */
  const drawn = {};
  for (const layer of layers.filter(({ kind }) => kind === "Conv2d")) {
    const tensors = tensorsOf([layer]);
    const read = tensors[0].size / layer.attributes.out_channels;
    const bound = 1 / Math.sqrt(read);
    for (const { name, size } of tensors) {
      drawn[name] = Float32Array.from({ length: size }, () => bound * (2 * uniform() - 1));
    }
  }
  return drawn;
}
