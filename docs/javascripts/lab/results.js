// @ts-check
/**
 * What came out of the reader's runs: figures in words, and the table of runs of one design.
 */

import { make, table } from "../elements.js";

/** @typedef {import("./keeping.js").Run} Run */
/** @typedef {import("./views.js").Judgement} Judgement */
/** @typedef {"oneView" | "nineViews"} Way */

const LAST = 3; // epochs in which a target has to hold

/** In percent. @param {Judgement | import("./training.js").Trained} one */
export const accuracyOf = ({ right, images }) => (100 * right) / images;

/** In percentage points: how far another draw of as many images would be off. @param {Judgement} one */
function standardError({ right, images }) {
  const share = right / images;
  return 100 * Math.sqrt((share * (1 - share)) / images);
}

/** @param {Judgement} one */
export const withError = (one) => `${accuracyOf(one).toFixed(2)} ± ${standardError(one).toFixed(2)}`;

/** An accuracy and its standard error, in percent. @param {Judgement} one */
export const inPercent = (one) => `${withError(one)} %`;

/** @param {number[]} values */
const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * Several judgements of the same images as one. Its standard error is the most that their mean may
 * have: as if all networks misread the same images.
 * @param {Judgement[]} several @returns {Judgement}
 */
export function together(several) {
  const [{ images }] = several;
  const right = meanOf(several.map((one) => one.right));
  return { right, images, loss: meanOf(several.map((one) => one.loss)) };
}

/** Of a sample; null of one value. @param {number[]} values */
function standardDeviation(values) {
  if (values.length < 2) return null;
  const mean = meanOf(values);
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}

/** The last judgements of a run, at most three. @param {Run} run @param {Way} way @returns {Judgement[]} */
function lastOf(run, way) {
  const judged = run.epochs.slice(-LAST).map((epoch) => epoch[way]);
  return /** @type {Judgement[]} */ (judged.filter((one) => one !== null));
}

/**
 * How many runs end at a target, and hold it in each of their last three epochs.
 * @param {Run[]} runs finished @param {Way} way @param {number} target
 */
function reaching(runs, way, target) {
  const lasts = runs.map((run) => lastOf(run, way).map(accuracyOf));
  const end = lasts.filter((last) => /** @type {number} */ (last.at(-1)) >= target).length;
  const hold = lasts.filter((last) => last.every((accuracy) => accuracy >= target)).length;
  const short = runs[0].epochs.length < LAST;
  const held = short ? `to hold it takes three epochs` : `${hold} hold it in each of the last three epochs`;
  return `${end} of ${runs.length} end at ${target} % or above, ${held}`;
}

/**
 * All finished runs of a design, each in a row.
 * @param {Run[]} runs @param {number} target in percent
 * @returns {HTMLElement[]}
 */
export function tableOfRuns(runs, target) {
  const ways = /** @type {Way[]} */ (["oneView", "nineViews"]);
  const rows = runs.map((run) => {
    const last = /** @type {Run["epochs"][0]} */ (run.epochs.at(-1));
    const cells = [...ways.map((way) => last[way]), ...ways.map((way) => run.test?.[way] ?? null)];
    return [`${run.seed}`, ...cells.map((one) => (one ? withError(one) : "–"))];
  });
  const headings = ["seed", "validation, one view", "nine views", "test, one view", "nine views"];
  const caption = "Your runs of this design after their last epoch, in percent ± standard error";
  return [table(caption, headings, rows), make("p", { class: "lt-quiet" }, summaryOf(runs, target))];
}

/** @param {Run[]} runs @param {number} target */
function summaryOf(runs, target) {
  const parts = [];
  for (const [way, name] of /** @type {const} */ ([["oneView", "one view"], ["nineViews", "nine views"]])) {
    const ends = runs.map((run) => /** @type {Judgement} */ (lastOf(run, way).at(-1)));
    const sd = standardDeviation(ends.map(accuracyOf));
    const spread = sd === null ? "a spread needs a second run" : `standard deviation ${sd.toFixed(2)}`;
    const mean = inPercent(together(ends));
    parts.push(`by ${name} ${mean} on average (${spread}); ${reaching(runs, way, target)}`);
  }
  return `On the validation images: ${parts.join("; ")}.`;
}

/**
 * Figures of each epoch; validation with its standard error.
 * @param {Run["epochs"]} done
 */
export function tableOfEpochs(done) {
  const rows = done.map(({ trained, oneView, nineViews }, i) => [
    `${i + 1}`, trained.loss.toFixed(4), accuracyOf(trained).toFixed(2), oneView.loss.toFixed(4),
    withError(oneView), nineViews ? withError(nineViews) : "–",
  ]);
  const headings = ["epoch", "training loss", "accuracy", "validation loss", "accuracy", "by nine views"];
  const caption = "Accuracies in percent, validation ± standard error; training figures are taken on the way, of moved images";
  return table(caption, headings, rows);
}

/** A judgement of test images in words. @param {{oneView: Judgement, nineViews: Judgement}} test */
export function testInWords({ oneView, nineViews }) {
  const images = oneView.images.toLocaleString("en");
  return `Of the ${images} test images it reads ${inPercent(oneView)} by one view each, ${inPercent(nineViews)} by nine; ± is the standard error.`;
}

/**
 * A finished run in a sentence; the way that the recipe judges by comes first.
 * @param {Run} run @param {import("./design.js").Recipe} recipe
 */
export function resultOf({ seed, epochs, test }, { testShifts }) {
  const last = /** @type {Run["epochs"][0]} */ (epochs.at(-1));
  /** @param {string} images @param {{oneView: Judgement, nineViews: Judgement | null}} judged */
  const of = (images, { oneView, nineViews }) => {
    const ways = [`${inPercent(oneView)} by one view`, nineViews && `${inPercent(nineViews)} by nine`];
    if (testShifts) ways.reverse();
    return `${ways.filter(Boolean).join(", ")} of the ${images} images`;
  };
  const opened = test ? of("test", test) : "the test images were not looked at";
  return `seed ${seed}: ${of("validation", last)}; ${opened}`;
}
