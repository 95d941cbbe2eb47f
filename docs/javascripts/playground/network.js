// @ts-check
/**
 * A network read from two files, and its forward pass.
 *
 * `mnist-steps export 8 --out DIR` writes the files: model.json says which layers there are and
 * where in weights.bin the weights of each begin.
 */

import * as layers from "./layers.js";
import { readFile, readJson } from "./files.js";

/** @typedef {import("./layers.js").Tensor} Tensor */

/**
 * One layer of model.json.
 * @typedef {{name: string, kind: string, attributes: any, output_shape: number[], params: number,
 *            weights: Record<string, {offset: number, shape: number[]}>}} Layer
 *
 * @typedef {{stage: number, title: string, input_shape: number[], layers: Layer[],
 *            normalize: {mean: number, sd: number}, weights: {bytes: number}}} Description
 */

/**
 * What each kind of layer does. The names are those of torch.nn.
 * @type {Record<string, (input: Tensor, weights: any, attributes: any) => Tensor>}
 */
const KINDS = {
  Conv2d: (input, weights, attributes) =>
    layers.conv2d(input, weights.weight, weights.bias ?? null, attributes),
  BatchNorm2d: (input, weights, attributes) => layers.batchNorm(input, weights, attributes.eps),
  ReLU: (input) => layers.relu(input),
  MaxPool2d: (input, _, attributes) => layers.maxPool(input, attributes),
  AvgPool2d: (input, _, attributes) => layers.avgPool(input, attributes),
  AdaptiveAvgPool2d: (input, _, attributes) =>
    layers.adaptiveAvgPool(input, attributes.output_size),
  Flatten: (input) => layers.flatten(input),
  LogSoftmax: (input) => layers.logSoftmax(input),
};

export class Network {
  /**
   * @param {Description} description what model.json says
   * @param {ArrayBuffer} weights what weights.bin holds
   */
  constructor(description, weights) {
    if (weights.byteLength !== description.weights.bytes) {
      throw new Error(
        `weights.bin has ${weights.byteLength} bytes, model.json expects ` +
          `${description.weights.bytes}: export both again.`,
      );
    }
    this.description = description;
    this.layers = description.layers.map((layer) => {
      return { ...layer, tensors: tensorsOf(layer, weights) };
    });
    for (const { name, kind, attributes, tensors } of this.layers) {
      const grouped = (attributes.groups ?? 1) !== 1;
      const padded = (attributes.padding_mode ?? "zeros") !== "zeros";
      if (!KINDS[kind] || grouped || padded) {
        throw new Error(`${name}: this ${kind} is not known here`);
      }
      for (const [part, { data }] of Object.entries(tensors)) {
        const at = data.findIndex((value) => !Number.isFinite(value));
        if (at < 0) continue;
        throw new Error(
          `${name}: number ${at + 1} of its ${part} is ${data[at]}, so the training had failed, ` +
            "or weights.bin is damaged: no digit can be read with it",
        );
      }
    }
  }

  /**
   * What the first layer takes.
   * @param {Float32Array} pixels 28 × 28 values, 0 is paper and 1 is ink
   * @returns {Tensor}
   */
  normalized(pixels) {
    const { mean, sd } = this.description.normalize;
    return { data: pixels.map((p) => (p - mean) / sd), shape: this.description.input_shape };
  }

  /**
   * Run the network on one image and keep what every layer gives.
   * @param {Float32Array} pixels 28 × 28 values, 0 is paper and 1 is ink
   * @returns {Tensor[]} one for each layer; the last holds the logarithms of ten probabilities
   */
  forward(pixels) {
    let tensor = this.normalized(pixels);
    return this.layers.map((layer) => {
      tensor = KINDS[layer.kind](tensor, layer.tensors, layer.attributes);
      return tensor;
    });
  }
}

/**
 * Read an exported network.
 * @param {string} folder address of the folder that holds model.json and weights.bin
 */
export async function loadNetwork(folder) {
  const [description, weights] = await Promise.all([
    readJson(`${folder}/model.json`),
    readFile(`${folder}/weights.bin`),
  ]);
  return new Network(description, weights);
}

/**
 * A layer's weights, as views into the file's bytes: nothing is copied. Browsers run on machines
 * that store numbers as the file does, the lowest byte first.
 * @param {Layer} layer @param {ArrayBuffer} weights
 * @returns {Record<string, Tensor>}
 */
function tensorsOf(layer, weights) {
  const named = Object.entries(layer.weights).map(([name, { offset, shape }]) => {
    const length = shape.reduce((a, b) => a * b, 1);
    return [name, { data: new Float32Array(weights, offset, length), shape }];
  });
  return Object.fromEntries(named);
}
