// @ts-check
/**
 * A design in the page's fragment, in a short notation, so that a link holds all of it:
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

import {
  ASSIGNMENT, MOST_LAYERS, PARTS, RECIPE, SETTINGS, TASK, range, within, wrongPart,
} from "./design.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./design.js").Limits} Limits */
/** @typedef {import("./design.js").Preset} Preset */
/** @typedef {import("./design.js").Recipe} Recipe */
/** @typedef {import("./design.js").Row} Row */
/** @typedef {import("./design.js").Task} Task */

const VERSION = "1";
const LONGEST_FRAGMENT = 4000; // characters
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
