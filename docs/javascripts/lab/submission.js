// @ts-check
/**
 * A design as the files that the course's assignment takes, and trained weights as a file that
 * `load_state_dict` takes.
 */

import { analyze, networkOf } from "./analysis.js";
import { CENTER, SIDE, count } from "./design.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./design.js").Layer} Layer */

/** Kinds for which the report's table has a row. */
const WINDOWS = ["Conv2d", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d"];

/**
 * model.py, with the names that the design shows.
 * @param {Design} design without a fatal problem
 */
export function modelFile(design) {
  const layers = networkOf(design);
  const { rows, parameters } = analyze(design);
  const lines = layers.map(({ name, kind, attributes }) => {
    return `        ${name}=nn.${kind}(${argumentsOf(kind, attributes)}),`;
  });
  const head = "    return nn.Sequential(OrderedDict(";
  const column = Math.max(head.length, ...lines.map((line) => line.length)) + 2;
  const sizes = rows.map((row) => row && row.outputShape.slice(1).join("x"));
  const beside = Math.max("size".length, ...sizes.map((size) => size?.length ?? 0)) + 2;
  const commented = lines.map((line, i) => {
    const row = rows[i];
    if (!row || !WINDOWS.includes(row.kind)) return line; // it changes neither size nor field
    return `${line.padEnd(column)}# ${(sizes[i] ?? "").padEnd(beside)}${row.size}`;
  });
  return `"""A network designed in the Lab, with ${count(parameters)} parameters.

Beside each layer stand the size of its maps and its receptive field, both in one number because
they are square.
"""

from collections import OrderedDict

from torch import nn


def build_model() -> nn.Module:
${head.padEnd(column)}# ${"size".padEnd(beside)}field
${commented.join("\n")}
    ))


if __name__ == "__main__":
    model = build_model()
    print(model)
    print(f"{sum(one.numel() for one in model.parameters()):,} parameters")
`;
}

/** A layer's arguments, without those at their default. @param {string} kind @param {any} a */
function argumentsOf(kind, a) {
  switch (kind) {
    case "Conv2d": {
      const [[kernel], [stride], [padding], [dilation]] = [a.kernel_size, a.stride, a.padding, a.dilation];
      return [
        `${a.in_channels}, ${a.out_channels}, ${kernel}`,
        ...(stride === 1 ? [] : [`stride=${stride}`]),
        ...(padding === 0 ? [] : [`padding=${padding}`]),
        ...(dilation === 1 ? [] : [`dilation=${dilation}`]),
        ...(a.bias ? [] : ["bias=False"]),
      ].join(", ");
    }
    case "BatchNorm2d":
      return `${a.num_features}`;
    case "MaxPool2d":
    case "AvgPool2d": {
      const [[kernel], [stride]] = [a.kernel_size, a.stride];
      return stride === kernel ? `${kernel}` : `${kernel}, stride=${stride}`;
    }
    case "AdaptiveAvgPool2d":
      return "1";
    case "LogSoftmax":
      return "dim=1";
    default:
      return "";
  }
}

/** recipe.toml. @param {Design} design */
export function recipeFile({ recipe }) {
  const oneCycle = recipe.schedule === "one-cycle";
  const parts = [
    `# How the network is trained, as in the Lab.

batch_size = ${recipe.batchSize}
epochs = ${recipe.epochs}
`,
    `[optimizer]${oneCycle ? "           # the schedule sets rate and momentum at every step" : ""}
name = "SGD"
lr = ${decimal(recipe.learningRate)}
momentum = ${decimal(recipe.momentum)}
weight_decay = ${decimal(recipe.weightDecay)}
`,
  ];
  if (oneCycle) parts.push(`[schedule]\nname = "OneCycleLR"\nmax_lr = ${decimal(recipe.peak)}\n`);
  /** @type {[boolean, string, string][]} */
  const moves = [
    [recipe.centerCrop > 0, "RandomCenterCrop", `size = ${CENTER}\nprobability = ${decimal(recipe.centerCrop)}`],
    [recipe.crop < 1, "RandomResizedCrop", `smallest = ${decimal(recipe.crop)}\nlargest = 1.0`],
    [recipe.rotation > 0, "RandomRotation", `degrees = ${decimal(recipe.rotation)}`],
    [recipe.shift > 0, "RandomTranslation", `share = ${decimal(Number((recipe.shift / SIDE).toFixed(6)))}`],
  ];
  for (const [wanted, name, settings] of moves) {
    if (wanted) parts.push(`[[augmentation]]\nname = "${name}"\n${settings}\n`);
  }
  return parts.join("\n");
}

/** A number that TOML takes for one with a point. @param {number} value */
function decimal(value) {
  return Number.isInteger(value) ? `${value}.0` : value.toFixed(6).replace(/0+$/, "");
}

/**
 * REPORT.md: the table of fields filled in, the words left to write.
 * @param {Design} design without a fatal problem
 * @param {string[]} results sentences about what was measured, such as the runs' accuracies
 */
export function reportFile(design, results = []) {
  const { rows, parameters } = analyze(design);
  const fields = rows.flatMap((row) => {
    return row && WINDOWS.includes(row.kind) ? [[row.name, `${row.size}`]] : [];
  });
  const wide = Math.max("layer".length, ...fields.map(([name]) => name.length));
  const table = [["layer", "field"], ["-".repeat(wide), "-----"], ...fields].map(
    ([name, field]) => `| ${name.padEnd(wide)} | ${field.padEnd("field".length)} |`,
  );
  const known = [`Parameters: ${count(parameters)}`, ...results].join("\n\n");
  return `# Report

One step for each network that you tried, the last one for the network in model.py.

## Step 1: the network from the Lab

### Target
TODO: what you wanted to reach with this network, and why you expected it to.

### Results
TODO: add "Accuracy: " and the percentage after the last epoch, then what else you saw.

${known}

### Analysis
TODO: what you learnt from it, and what you would change next.

## Receptive field

${table.join("\n")}
`;
}

/**
 * Weights in the format safetensors: the length of a header, the header in JSON, all numbers.
 *
 * Batch normalization also counts its batches, in an integer that evaluation does not use; it is
 * there because `load_state_dict` asks for it.
 * @param {Layer[]} layers as networkOf gives them
 * @param {Record<string, Float32Array>} weights by name, such as conv1.weight
 * @param {number} batches that were trained with
 */
export function weightsFile(layers, weights, batches = 0) {
  /** @type {{name: string, dtype: string, shape: number[], bytes: Uint8Array}[]} */
  const tensors = [];
  for (const layer of layers) {
    if (layer.kind !== "BatchNorm2d") continue;
    const bytes = new Uint8Array(BigInt64Array.of(BigInt(batches)).buffer);
    tensors.push({ name: `${layer.name}.num_batches_tracked`, dtype: "I64", shape: [], bytes });
  }
  for (const layer of layers) {
    for (const [part, shape] of shapesOf(layer)) {
      const name = `${layer.name}.${part}`;
      const numbers = weights[name];
      const expected = shape.reduce((product, length) => product * length, 1);
      if (numbers?.length !== expected) {
        throw new Error(`${name}: found ${numbers?.length ?? "no"} numbers, the design has ${expected}`);
      }
      const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
      tensors.push({ name, dtype: "F32", shape, bytes });
    }
  }
  let end = 0;
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    const begin = end;
    end += bytes.length;
    return [name, { dtype, shape, data_offsets: [begin, end] }];
  });
  const json = JSON.stringify(Object.fromEntries(entries));
  const header = new TextEncoder().encode(json.padEnd(8 * Math.ceil(json.length / 8)));
  const file = new Uint8Array(8 + header.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  let at = 8 + header.length;
  for (const { bytes } of tensors) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}

/** The tensors of a layer with their shapes, in torch's order. @param {Layer} layer @returns {[string, number[]][]} */
function shapesOf({ kind, attributes: a }) {
  if (kind === "Conv2d") {
    const weight = [a.out_channels, a.in_channels, ...a.kernel_size];
    return [["weight", weight], ...(a.bias ? [["bias", [a.out_channels]]] : [])];
  }
  if (kind !== "BatchNorm2d") return [];
  return ["weight", "bias", "running_mean", "running_var"].map((part) => [part, [a.num_features]]);
}
