// @ts-check
/**
 * A design: the layers of a network and the recipe that trains it, as plain data.
 *
 * It stands in the page's fragment in a short notation, so that a link holds all of it:
 *
 *     #lab=1&sum=1rp5dpv&net=c10k3.n.r.m2.c10k12b&epochs=6&schedule=one-cycle&peak=0.3
 *     #preset=8
 *
 * Mail and chats cut links at their end, and what is left may be a design, too. The sum stands in
 * front and tells; a link that was written by hand does without. A layer is a letter with its
 * numbers: c16k3s1p0d1b is a convolution to 16 channels by a 3×3 kernel, with stride 1, padding 0,
 * dilation 1 and a bias; n is batch normalization, r is ReLU, m2 and a2 take the largest and the
 * mean of 2×2, m2s1 at every place, g the mean of the whole map. What a link leaves out is as in
 * RECIPE.
 *
 * A fragment may come from strangers: `read` takes it apart by what it expects, number by number.
 */

import { problemOf } from "../explorer/network.js";
import { below, measures } from "../playground/field.js";
import { places } from "../playground/layers.js";

/**
 * One row of a design. A number is NaN while its field on the page holds none.
 * @typedef {{kind: "Conv2d", channels: number, kernel: number, stride: number, padding: number,
 *            dilation: number, bias: boolean}} Convolution
 * @typedef {{kind: "MaxPool2d" | "AvgPool2d", kernel: number, stride: number}} Pool
 * @typedef {{kind: "BatchNorm2d" | "ReLU" | "AdaptiveAvgPool2d"}} Plain
 *   an adaptive pool takes the mean of the whole map
 * @typedef {Convolution | Pool | Plain} Row
 *
 * @typedef {object} Recipe
 * @property {number} epochs
 * @property {number} batchSize a multiple of 16
 * @property {number} learningRate where the schedule is constant
 * @property {number} momentum where the schedule is constant; one-cycle moves it, as torch's does
 * @property {number} weightDecay
 * @property {"constant" | "one-cycle"} schedule
 * @property {number} peak the highest learning rate of one-cycle
 * @property {number} rotation degrees to both sides
 * @property {number} shift pixels to each side; drawn in between, then rounded to whole pixels
 * @property {number} crop the smallest share of the area that is cut out and enlarged; 1 is off
 * @property {number} centerCrop how probably the middle CENTER × CENTER pixels are enlarged
 * @property {number} testShifts the final network judges shifts by so many pixels, too
 * @property {number} shiftedEpochs after how many of the last epochs it does so
 *
 * @typedef {{budget: number, target: number, start: Row[] | null}} Task
 *   what an instructor's link asks for: fewer parameters than the budget, the accuracy in percent
 * @typedef {{layers: Row[], recipe: Recipe, task?: Task}} Design
 * @typedef {{id: string, title: string, design: Design}} Preset
 *
 * @typedef {{name: string, kind: string, outputShape: number[], parameters: number,
 *            multiplications: number, size: number, jump: number}} Facts
 *   size and jump of the field in pixels; multiplications of one image
 * @typedef {{row: number | null, part: string | null, text: string, fatal: boolean}} Problem
 *   row, part: which of the design's layers, or setting of the recipe; with a fatal one nothing can
 *   be trained
 * @typedef {{rows: (Facts | null)[], names: string[], parameters: number, multiplications: number,
 *            problems: Problem[]}} Analysis null: the row or one before it cannot work; names: of all
 *
 * @typedef {import("../engine/description.js").Layer & {output_shape: number[], params: number,
 *            weights: {}}} Layer as a line of model.json
 */

/** What the course's assignment asks for, work in multiplications; a test compares it. */
export const ASSIGNMENT = { budget: 8000, target: 99.4, epochs: 15, work: 20_000_000 };

export const SIDE = 28; // of an image, in pixels
export const CLASSES = 10;
export const CENTER = 22; // pixels of an image that a central crop keeps on each side
export const MOST_LAYERS = 40;
const VERSION = "1";
const LONGEST_FRAGMENT = 4000; // characters
const MOST_BYTES = 2 ** 30; // of what a training step keeps
const BYTES_OF_FLOAT = 4;

/** @typedef {{words: string, least: number, most: number, multiple?: number, step?: number}} Limits */

/** Of the numbers in a row, which are all whole. @type {Record<string, Limits>} */
export const PARTS = {
  channels: { words: "channels", least: 1, most: 128 },
  kernel: { words: "kernel", least: 1, most: SIDE },
  stride: { words: "stride", least: 1, most: 14 },
  padding: { words: "padding", least: 0, most: 14 },
  dilation: { words: "dilation", least: 1, most: 14 },
};

/** The numbers of a recipe. With a step they need not be whole. @type {Record<string, Limits>} */
export const SETTINGS = {
  epochs: { words: "epochs", least: 1, most: ASSIGNMENT.epochs },
  batchSize: { words: "batch size", least: 16, most: 512, multiple: 16 },
  learningRate: { words: "learning rate", least: 0.0001, most: 2, step: 0.001 },
  momentum: { words: "momentum", least: 0, most: 0.99, step: 0.01 },
  weightDecay: { words: "weight decay", least: 0, most: 0.1, step: 0.0001 },
  peak: { words: "peak", least: 0.0001, most: 2, step: 0.01 },
  rotation: { words: "rotation", least: 0, most: 45, step: 1 },
  shift: { words: "shift", least: 0, most: 8, step: 0.01 },
  crop: { words: "crop", least: 0.3, most: 1, step: 0.01 },
  centerCrop: { words: "central crop", least: 0, most: 1, step: 0.05 },
  testShifts: { words: "shifts of the final network", least: 0, most: 1 },
  shiftedEpochs: { words: "epochs with shifts", least: 1, most: ASSIGNMENT.epochs },
};

/** @type {Record<string, Limits>} */
export const TASK = {
  budget: { words: "budget", least: 500, most: 1_000_000 },
  target: { words: "target", least: 50, most: 100, step: 0.1 },
};

/** What a link that says nothing else means. It stays as it is: links rely on it. */
export const RECIPE = Object.freeze(
  /** @type {Recipe} */ ({
    epochs: 15,
    batchSize: 64,
    learningRate: 0.01,
    momentum: 0.9,
    weightDecay: 0,
    schedule: "constant",
    peak: 0.1,
    rotation: 0,
    shift: 0,
    crop: 1,
    centerCrop: 0,
    testShifts: 0,
    shiftedEpochs: 1,
  }),
);
const SCHEDULES = ["constant", "one-cycle"];

/** How a fragment calls the recipe's settings. @type {Record<string, keyof Recipe>} */
const WORDS = {
  epochs: "epochs",
  batch: "batchSize",
  rate: "learningRate",
  momentum: "momentum",
  decay: "weightDecay",
  schedule: "schedule",
  peak: "peak",
  rotate: "rotation",
  shift: "shift",
  crop: "crop",
  center: "centerCrop",
  views: "testShifts",
  viewed: "shiftedEpochs",
};

// --- Fragments ----------------------------------------------------------------------------------

/**
 * The design that a fragment holds.
 * @param {string} fragment with or without '#'
 * @param {Preset[]} presets
 * @returns {{design: Design | null, problem: string | null}} the problem in words, for a sentence
 *   that begins with 'This address cannot be read: '; both null when there is nothing to read
 */
export function read(fragment, presets) {
  const text = fragment.replace(/^#/, "");
  if (!text) return { design: null, problem: null };
  try {
    return { design: parse(text, presets), problem: null };
  } catch (error) {
    if (error instanceof Unreadable) return { design: null, problem: error.message };
    throw error;
  }
}

/**
 * The fragment that holds a design, without '#'. Its numbers must be within their limits.
 * @param {Design} design
 */
export function write(design) {
  const parts = [...settingsOf(design), ...writeTask(design.task)];
  return [`lab=${VERSION}`, `sum=${sumOf(parts)}`, ...parts].join("&");
}

/** What trainings of a design are kept under: without the task, which changes none. @param {Design} design */
export function keyOf(design) {
  return [`lab=${VERSION}`, ...settingsOf(design)].join("&");
}

/** @param {Design} design */
function settingsOf({ layers, recipe }) {
  const parts = [`net=${writeLayers(layers)}`];
  for (const [word, name] of Object.entries(WORDS)) {
    if (recipe[name] !== RECIPE[name]) parts.push(`${word}=${recipe[name]}`);
  }
  return parts;
}

/** The checksum FNV-1a of all settings in their order, 32 bits. @param {string[]} parts */
function sumOf(parts) {
  let sum = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(parts.join("&"))) {
    sum = Math.imul(sum ^ byte, 0x01000193) >>> 0;
  }
  return sum.toString(36);
}

/** @param {Task | undefined} task @returns {string[]} */
function writeTask(task) {
  if (!task) return [];
  const { budget, target, start } = task;
  const from = start ? [`start=${writeLayers(start)}`] : [];
  return [`budget=${budget}`, `target=${target}`, ...from];
}

/** @param {Row[]} layers */
function writeLayers(layers) {
  return layers.map(writeRow).join(".");
}

/** @param {Row} row */
function writeRow(row) {
  switch (row.kind) {
    case "Conv2d": {
      const stride = row.stride === 1 ? "" : `s${row.stride}`;
      const padding = row.padding === 0 ? "" : `p${row.padding}`;
      const dilation = row.dilation === 1 ? "" : `d${row.dilation}`;
      return `c${row.channels}k${row.kernel}${stride}${padding}${dilation}${row.bias ? "b" : ""}`;
    }
    case "MaxPool2d":
    case "AvgPool2d": {
      const stride = row.stride === row.kernel ? "" : `s${row.stride}`;
      return `${row.kind === "MaxPool2d" ? "m" : "a"}${row.kernel}${stride}`;
    }
    case "BatchNorm2d":
      return "n";
    case "ReLU":
      return "r";
    default:
      return "g";
  }
}

class Unreadable extends Error {}

/** @param {string} what @returns {never} */
function refuse(what) {
  throw new Unreadable(what);
}

/** What a stranger wrote, short and plain. @param {string} text */
function quoted(text) {
  const plain = text.slice(0, 30).replace(/[^ -~]/g, "?");
  return `“${plain}${text.length > 30 ? "…" : ""}”`;
}

/** @param {string} text @param {Preset[]} presets @returns {Design} */
function parse(text, presets) {
  if (text.length > LONGEST_FRAGMENT) {
    refuse(`it has ${text.length} characters, a design at most ${LONGEST_FRAGMENT}`);
  }
  /** @type {Map<string, string>} */
  const said = new Map();
  const parts = text.split("&").map(unescaped);
  for (const part of parts) {
    const [name, ...value] = part.split("=");
    if (!value.length) refuse(`${quoted(name)} is no setting with a value`);
    if (said.has(name)) refuse(`it says ${quoted(name)} twice`);
    said.set(name, value.join("="));
  }
  /** @param {string} name */
  const take = (name) => {
    const value = said.get(name);
    said.delete(name);
    return value;
  };

  const version = take("lab");
  const named = take("preset");
  if (version === undefined && named === undefined) refuse("it says neither “lab=” nor “preset=”");
  if (version !== undefined && version !== VERSION) {
    const later = /^\d+$/.test(version) && Number(version) > Number(VERSION);
    refuse(
      later
        ? `it was made by a later Lab (${quoted(version)}); reload the page, or ask for a new link`
        : `${quoted(version)} is no version of the Lab`,
    );
  }
  const sum = take("sum");
  if (sum !== undefined && sum !== sumOf(parts.filter((part) => !/^(lab|sum)=/.test(part)))) {
    refuse("its checksum does not fit, so it was cut or changed on its way; get the whole link, or take out “sum=…” to read it as it is");
  }
  const preset = presets.find(({ id }) => id === named);
  if (named !== undefined && !preset) {
    const known = presets.map(({ id }) => id).join(", ");
    refuse(`there is no preset ${quoted(named)}, only ${known}`);
  }
  const base = preset?.design ?? { layers: [], recipe: RECIPE };
  const net = take("net");
  if (net === undefined && !preset) refuse("it names no layers (“net=”)");
  const layers = net === undefined ? base.layers.map((row) => ({ ...row })) : readLayers(net);

  /** @type {Record<string, any>} */
  const recipe = { ...base.recipe };
  for (const [word, name] of Object.entries(WORDS)) {
    const value = take(word);
    if (value === undefined) continue;
    if (name === "schedule") {
      if (!SCHEDULES.includes(value)) refuse(`${quoted(value)} is no schedule`);
      recipe[name] = value;
    } else {
      recipe[name] = numberFrom(value, SETTINGS[name]);
    }
  }
  const task = taskFrom(take("budget"), take("target"), take("start"));
  for (const [name] of said) refuse(`${quoted(name)} is none of its settings`);
  return { layers, recipe: /** @type {Recipe} */ (recipe), ...(task && { task }) };
}

/** @param {string} part */
function unescaped(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return refuse(`${quoted(part)} is damaged`);
  }
}

/** @param {string | undefined} budget @param {string | undefined} target @param {string | undefined} start */
function taskFrom(budget, target, start) {
  if (budget === undefined && target === undefined && start === undefined) return null;
  return {
    budget: budget === undefined ? ASSIGNMENT.budget : numberFrom(budget, TASK.budget),
    target: target === undefined ? ASSIGNMENT.target : numberFrom(target, TASK.target),
    start: start === undefined ? null : readLayers(start),
  };
}

/** @param {string} text @param {Limits} limits */
function numberFrom(text, limits) {
  const value = /^\d{1,7}(\.\d{1,6})?$/.test(text) ? Number(text) : NaN;
  if (!within(value, limits)) refuse(`${limits.words} is ${quoted(text)}, expected ${range(limits)}`);
  return value;
}

const CONVOLUTION = /^c(\d{1,4})k(\d{1,3})(?:s(\d{1,3}))?(?:p(\d{1,3}))?(?:d(\d{1,3}))?(b?)$/;
const POOL = /^([ma])(\d{1,3})(?:s(\d{1,3}))?$/;

/** @param {string} text @returns {Row[]} */
function readLayers(text) {
  const words = text === "" ? [] : text.split(".");
  if (words.length > MOST_LAYERS) refuse(`it has ${words.length} layers, at most ${MOST_LAYERS} fit`);
  return words.map((word, i) => {
    const row = readRow(word);
    if (!row) return refuse(`layer ${i + 1} is ${quoted(word)}, which is none`);
    const wrong = wrongPart(row);
    if (wrong) {
      refuse(`layer ${i + 1} is ${quoted(word)}: ${wrong}, expected ${range(PARTS[wrong])}`);
    }
    return row;
  });
}

/** @param {string} word @returns {Row | null} */
function readRow(word) {
  if (word === "n") return { kind: "BatchNorm2d" };
  if (word === "r") return { kind: "ReLU" };
  if (word === "g") return { kind: "AdaptiveAvgPool2d" };
  const pool = POOL.exec(word);
  if (pool) {
    const [, letter, kernel, stride = kernel] = pool;
    const kind = letter === "m" ? "MaxPool2d" : "AvgPool2d";
    return { kind, kernel: Number(kernel), stride: Number(stride) };
  }
  const found = CONVOLUTION.exec(word);
  if (!found) return null;
  const [, channels, kernel, stride = "1", padding = "0", dilation = "1", bias] = found;
  return {
    kind: "Conv2d",
    channels: Number(channels),
    kernel: Number(kernel),
    stride: Number(stride),
    padding: Number(padding),
    dilation: Number(dilation),
    bias: bias === "b",
  };
}

// --- Numbers and their limits -------------------------------------------------------------------

/** @param {number} value @param {Limits} limits */
export function within(value, { least, most, multiple = 1, step }) {
  const fits = step !== undefined || Number.isInteger(value / multiple);
  return value >= least && value <= most && fits;
}

/** @param {Limits} limits */
export function range({ least, most, multiple, step }) {
  const what = multiple ? `a multiple of ${multiple}` : step ? "a number" : "a whole number";
  return `${what} from ${least} to ${most}`;
}

/** The first number of a row that is out of its limits. @param {Row} row */
function wrongPart(row) {
  const numbers = /** @type {Record<string, any>} */ (row);
  return Object.keys(PARTS).find((part) => part in row && !within(numbers[part], PARTS[part]));
}

/** Whether all numbers of a design are within their limits, so that it can be written. @param {Design} design */
export function isWritable({ layers, recipe, task }) {
  const numbers = /** @type {Record<string, any>} */ (recipe);
  return (
    !layers.some(wrongPart) &&
    Object.keys(SETTINGS).every((name) => within(numbers[name], SETTINGS[name])) &&
    (!task || (within(task.budget, TASK.budget) && within(task.target, TASK.target)))
  );
}

// --- The network --------------------------------------------------------------------------------

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

const NUMBERS = new Intl.NumberFormat("en"); // toLocaleString makes one for each number

/** A number with its thousands apart. @param {number} number */
export function count(number) {
  return NUMBERS.format(number);
}
