// @ts-check
/**
 * A design: the layers of a network and the recipe that trains it, as plain data.
 *
 * Here is what a design consists of and between which limits its numbers lie. fragment.js writes it
 * into an address and reads it from there; analysis.js says what there is to know of its network.
 */

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
export function wrongPart(row) {
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

const NUMBERS = new Intl.NumberFormat("en"); // toLocaleString makes one for each number

/** A number with its thousands apart. @param {number} number */
export function count(number) {
  return NUMBERS.format(number);
}
