// @ts-check
/** What there is to know of a design before it is trained: its network, figures and problems. */

import { problemOf } from "../explorer/network.js";
import { below, measures } from "../playground/field.js";
import { places } from "../playground/layers.js";
import { ASSIGNMENT, CLASSES, PARTS, SETTINGS, SIDE, count, range, within, wrongPart } from "./design.js";

/** @typedef {import("./design.js").Analysis} Analysis */
/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./design.js").Facts} Facts */
/** @typedef {import("./design.js").Layer} Layer */
/** @typedef {import("./design.js").Problem} Problem */
/** @typedef {import("./design.js").Recipe} Recipe */
/** @typedef {import("./design.js").Row} Row */

const MOST_BYTES = 2 ** 30; // of what a training step keeps
const BYTES_OF_FLOAT = 4;

/**
 * The layers' names, as the stages' networks have them: each convolution is counted, those of one
 * pixel by themselves, and what follows a convolution takes its number.
 * @param {Row[]} layers @param {number[][]} [shapes] of each layer's output, as far as known
 * @returns {string[]}
 */
function namesOf(layers, shapes = []) {
  /** @type {Map<string, number>} */
  const used = new Map();
  let convolutions = 0, points = 0, pools = 0, number = "";
  return layers.map((row, i) => {
    let name = "";
    if (row.kind === "Conv2d") {
      number = row.kernel === 1 ? `p${++points}` : `${++convolutions}`;
      name = row.kernel === 1 ? `point${points}` : `conv${convolutions}`;
    } else if (row.kind === "BatchNorm2d") {
      name = `batch_norm${number}`;
    } else if (row.kind === "ReLU") {
      name = `relu${number}`;
    } else {
      const whole = row.kind === "AvgPool2d" && shapes[i]?.[1] === 1;
      name = whole || row.kind === "AdaptiveAvgPool2d" ? "gap" : `pool${++pools}`;
    }
    const times = (used.get(name) ?? 0) + 1;
    used.set(name, times);
    return times === 1 ? name : `${name}_${times}`;
  });
}

/**
 * The layers up to the first that cannot work, with the reason.
 * @param {Row[]} layers
 * @returns {{chain: Layer[], problem: Problem | null}}
 */
function chainOf(layers) {
  /** @type {Layer[]} */
  const chain = [];
  let shape = [1, SIDE, SIDE];
  let problem = null;
  for (const [i, row] of layers.entries()) {
    problem = problemOfRow(row, i, shape);
    if (problem) break;
    const { attributes, outputShape, parameters } = described(row, shape);
    chain.push({
      name: "", kind: row.kind, attributes, output_shape: outputShape, params: parameters, weights: {},
    });
    shape = outputShape;
  }
  const names = namesOf(layers, chain.map((layer) => layer.output_shape));
  chain.forEach((layer, i) => (layer.name = names[i]));
  return { chain, problem };
}

/** @param {number} value */
const both = (value) => [value, value];

/** The window of a row that moves one; null for the others. @param {Row} row @param {number[]} shape */
function windowOf(row, shape) {
  const usual = { padding: both(0), dilation: both(1) };
  if (row.kind === "Conv2d") {
    const { kernel, stride, padding, dilation } = row;
    return {
      kernel_size: both(kernel), stride: both(stride), padding: both(padding), dilation: both(dilation),
    };
  }
  if (row.kind === "MaxPool2d" || row.kind === "AvgPool2d") {
    return { ...usual, kernel_size: both(row.kernel), stride: both(row.stride) };
  }
  // The mean of the whole map is a pool as large as the map.
  const whole = [shape[1], shape[2]];
  return row.kind === "AdaptiveAvgPool2d" ? { ...usual, kernel_size: whole, stride: whole } : null;
}

/**
 * A layer with torch's attributes. @param {Row} row @param {number[]} shape of what it gets
 */
function described(row, shape) {
  const window = windowOf(row, shape);
  const [channels] = shape;
  const map = window ? [places(shape[1], window, 0), places(shape[2], window, 1)] : shape.slice(1);
  switch (row.kind) {
    case "Conv2d": {
      const bias = row.bias ? row.channels : 0;
      return {
        attributes: {
          in_channels: channels, out_channels: row.channels, ...window, groups: 1,
          bias: row.bias, padding_mode: "zeros",
        },
        outputShape: [row.channels, ...map],
        parameters: channels * row.channels * row.kernel ** 2 + bias,
      };
    }
    case "BatchNorm2d":
      return {
        attributes: {
          num_features: channels, eps: 1e-5, momentum: 0.1, affine: true, track_running_stats: true,
        },
        outputShape: shape,
        parameters: 2 * channels,
      };
    case "AdaptiveAvgPool2d":
      return { attributes: { output_size: both(1) }, outputShape: [channels, 1, 1], parameters: 0 };
    case "AvgPool2d": {
      const { kernel_size, stride, padding } = /** @type {NonNullable<typeof window>} */ (window);
      const attributes = { kernel_size, stride, padding, ceil_mode: false, count_include_pad: true };
      return { attributes, outputShape: [channels, ...map], parameters: 0 };
    }
    case "MaxPool2d":
      return { attributes: { ...window, ceil_mode: false }, outputShape: [channels, ...map], parameters: 0 };
    default:
      return { attributes: {}, outputShape: shape, parameters: 0 };
  }
}

/** Why a row cannot stand where it does. @param {Row} row @param {number} i @param {number[]} shape @returns {Problem | null} */
function problemOfRow(row, i, shape) {
  /** @param {string} part @param {string} text */
  const fatal = (part, text) => ({ row: i, part, text: `${part}: ${text}`, fatal: true });
  const wrong = wrongPart(row);
  if (wrong) return fatal(wrong, range(PARTS[wrong]));
  const window = windowOf(row, shape);
  const found = window && problemOf(row.kind, window, shape);
  if (found) return fatal(found.part, found.text);
  if (row.kind !== "Conv2d") return null;
  const spans = row.dilation * (row.kernel - 1) + 1;
  if (row.padding >= spans) {
    const kernel = row.dilation === 1 ? "the kernel" : "what the kernel spans";
    return fatal("padding", `smaller than ${kernel}, ${spans}: more would only add zeros`);
  }
  if (row.stride > 1 && i > 0) {
    return fatal("stride", "only the first layer may have one above 1 here; a pool halves a map, too");
  }
  return null;
}

/**
 * The network as `describe` and `tensorsOf` of the engine take it, and the playground's Network.
 * @param {Design} design without a fatal problem
 * @returns {Layer[]}
 */
export function networkOf(design) {
  const { chain } = chainOf(design.layers);
  const end = { output_shape: [CLASSES], params: 0, weights: {} };
  return [
    ...chain,
    { name: "flatten", kind: "Flatten", attributes: { start_dim: 1, end_dim: 3 }, ...end },
    { name: "log_softmax", kind: "LogSoftmax", attributes: { dim: 1 }, ...end },
  ];
}

/**
 * What there is to know of a design before it is trained.
 * @param {Design} design
 * @returns {Analysis}
 */
export function analyze(design) {
  const { layers, recipe, task } = design;
  const { chain, problem } = chainOf(layers);
  const fields = measures(chain.map(asWindow));
  const facts = chain.map((layer, i) => {
    const { name, kind, output_shape: outputShape, params: parameters } = layer;
    const [size, jump] = [fields[i].size[0], fields[i].jump[0]];
    const multiplications = multiplicationsOf(layer);
    return { name, kind, outputShape, parameters, multiplications, size, jump };
  });
  const parameters = sum(facts.map((row) => row.parameters));
  const last = facts.at(-1);
  const problems = problem ? [problem] : endProblem(last);
  problems.push(...recipeProblems(recipe, facts));
  const budget = task?.budget ?? ASSIGNMENT.budget;
  if (!problem && parameters >= budget) {
    const text = `${count(parameters)} parameters: fewer than ${count(budget)} are asked for`;
    problems.push({ row: null, part: "budget", text, fatal: false });
  }
  const multiplications = sum(facts.map((row) => row.multiplications));
  if (!problem && multiplications > ASSIGNMENT.work) {
    const text = `${count(multiplications)} multiplications for one image: the assignment's grader does at most ${count(ASSIGNMENT.work)}`;
    problems.push({ row: null, part: "work", text, fatal: false });
  }
  if (!problem && last && last.size < SIDE) {
    const text = `the last layer's units see ${last.size}×${last.size} of ${SIDE}×${SIDE} pixels: no unit sees the whole image`;
    problems.push({ row: null, part: "field", text, fatal: false });
  }
  problems.push(...rowWarnings(layers, chain));
  return {
    rows: layers.map((_, i) => facts[i] ?? null),
    names: namesOf(layers, chain.map((layer) => layer.output_shape)),
    parameters,
    multiplications,
    problems,
  };
}

/** An adaptive pool as the window that it is. @param {Layer} layer @param {number} i @param {Layer[]} chain */
function asWindow(layer, i, chain) {
  if (layer.kind !== "AdaptiveAvgPool2d") return layer;
  const [, ...map] = i ? chain[i - 1].output_shape : [1, SIDE, SIDE];
  return { ...layer, attributes: { kernel_size: map, stride: map, padding: both(0) } };
}

/** Of one image: each weight of a convolution, at each place of its output. @param {Layer} layer */
function multiplicationsOf({ kind, attributes, output_shape: [channels, height, width] }) {
  if (kind !== "Conv2d") return 0;
  const [kernelHeight, kernelWidth] = attributes.kernel_size;
  return attributes.in_channels * channels * kernelHeight * kernelWidth * height * width;
}

/** @param {Facts | undefined} last @returns {Problem[]} */
function endProblem(last) {
  if (!last) return [{ row: null, part: null, text: "there are no layers yet: add one", fatal: true }];
  const [channels, height, width] = last.outputShape;
  if (channels === CLASSES && height === 1 && width === 1) return [];
  const hints = [
    ...(channels === CLASSES ? [] : [`give the last convolution ${CLASSES} channels`]),
    ...(height === 1 ? [] : ["end with a global average, or with a kernel as large as the map"]),
  ];
  const found = `the network ends with ${channels}×${height}×${width} numbers, expected ${CLASSES}×1×1, a score for each digit`;
  return [{ row: null, part: null, text: `${found}: ${hints.join(", and ")}`, fatal: true }];
}

/** @param {Recipe} recipe @param {Facts[]} facts @returns {Problem[]} */
function recipeProblems(recipe, facts) {
  const numbers = /** @type {Record<string, any>} */ (recipe);
  const problems = Object.entries(SETTINGS)
    .filter(([name, limits]) => !within(numbers[name], limits))
    .map(([name, limits]) => {
      return { row: null, part: name, text: `${limits.words}: ${range(limits)}`, fatal: true };
    });
  // Every layer's output is kept for the way back; a ReLU writes into the output before it.
  const values = sum(facts.map(({ kind, outputShape: [c, h, w] }) => (kind === "ReLU" ? 0 : c * h * w)));
  const bytes = values * recipe.batchSize * BYTES_OF_FLOAT;
  if (bytes > MOST_BYTES) {
    const text = `a step would keep ${(bytes / 2 ** 30).toFixed(1)} GiB in memory: make the batch smaller, or the network`;
    problems.push({ row: null, part: "batchSize", text, fatal: true });
  }
  return problems;
}

const LINEAR = ["BatchNorm2d", "AvgPool2d", "AdaptiveAvgPool2d"];

/** What works and is probably not meant. @param {Row[]} layers @param {Layer[]} chain @returns {Problem[]} */
function rowWarnings(layers, chain) {
  /** @type {Problem[]} */
  const warnings = [];
  chain.forEach((layer, i) => {
    /** @param {string} part @param {string} text */
    const warn = (part, text) => warnings.push({ row: i, part, text, fatal: false });
    const row = layers[i];
    if (row.kind === "Conv2d") {
      // What lies between this convolution and the one before it, if all of that is linear.
      let before = i - 1;
      while (before >= 0 && LINEAR.includes(layers[before].kind)) before--;
      if (before >= 0 && layers[before].kind === "Conv2d") {
        warn("kind", `no nonlinearity between ${chain[before].name} and ${layer.name}: together they do what one convolution could`);
      }
      if (row.bias && layers[i + 1]?.kind === "BatchNorm2d") {
        warn("bias", "batch normalization takes a bias away again: it costs parameters and does nothing");
      }
    }
    if ("stride" in row && row.stride > row.kernel) {
      warn("stride", `a stride of ${row.stride} by a kernel of ${row.kernel} skips pixels: nothing ever looks at them`);
      return;
    }
    if (row.kind === "ReLU" && i && layers[i - 1].kind === "ReLU") warn("kind", "a second ReLU changes nothing");
    const left = leftOut(chain, i);
    if (left) {
      const lines = left === 1 ? "the last row and column" : `the last ${left} rows and columns`;
      warn("kernel", `its windows do not reach ${lines} of the map before it`);
    }
  });
  return warnings;
}

/** How many rows at the end of its input a layer never looks at. @param {Layer[]} chain @param {number} i */
function leftOut(chain, i) {
  const { kernel_size, stride } = chain[i].attributes;
  if (!kernel_size || stride[0] > kernel_size[0]) return 0;
  const shape = i ? chain[i - 1].output_shape : [1, SIDE, SIDE];
  const outputs = Array.from({ length: chain[i].output_shape[1] }, (_, place) => place);
  return shape[1] - 1 - /** @type {number} */ (below(chain[i], outputs, shape, 0).at(-1));
}

/** @param {number[]} numbers */
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
