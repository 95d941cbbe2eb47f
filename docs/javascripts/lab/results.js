// @ts-check
/**
 * What came out of the reader's runs: figures in words, and the table of runs of one design.
 */

import { make, table } from "../compare/make.js";

/** @typedef {import("./keeping.js").Run} Run */
/** @typedef {import("./views.js").Judgement} Judgement */

const LAST = 3; // epochs in which a target has to hold

/** In percent. @param {Judgement | import("./training.js").Trained} one */
export const accuracyOf = ({ right, images }) => (100 * right) / images;

/** In percentage points: how far another draw of as many images would be off. @param {Judgement} one */
export function standardError({ right, images }) {
  const share = right / images;
  return 100 * Math.sqrt((share * (1 - share)) / images);
}

/** @param {number} percent */
export const inPercent = (percent) => `${percent.toFixed(2)} %`;

/** @param {number[]} values */
export function meanAndSpread(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const sd = values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : null;
  return { mean, sd };
}

/** The last judgements of a run, at most three. @param {Run} run @param {"oneView" | "nineViews"} way */
function lastOf(run, way) {
  const judged = run.epochs.slice(-LAST).map((epoch) => epoch[way]);
  return judged.filter((one) => one !== null).map((one) => accuracyOf(/** @type {Judgement} */ (one)));
}

/**
 * How many runs end at a target, and hold it in each of their last three epochs.
 * @param {Run[]} runs finished @param {"oneView" | "nineViews"} way @param {number} target
 */
export function reaching(runs, way, target) {
  const lasts = runs.map((run) => lastOf(run, way));
  return {
    end: lasts.filter((last) => /** @type {number} */ (last.at(-1)) >= target).length,
    hold: lasts.filter((last) => last.every((accuracy) => accuracy >= target)).length,
  };
}

/**
 * All finished runs of a design, each in a row.
 * @param {Run[]} runs @param {number} target in percent
 * @returns {HTMLElement[]}
 */
export function tableOfRuns(runs, target) {
  const ways = /** @type {("oneView" | "nineViews")[]} */ (["oneView", "nineViews"]);
  const rows = runs.map((run) => {
    const last = /** @type {Run["epochs"][0]} */ (run.epochs.at(-1));
    const cells = [...ways.map((way) => last[way]), ...ways.map((way) => run.test?.[way] ?? null)];
    return [`${run.seed}`, ...cells.map((one) => (one ? accuracyOf(one).toFixed(2) : "–"))];
  });
  const headings = ["seed", "validation, one view", "nine views", "test, one view", "nine views"];
  const caption = "Your runs of this design after their last epoch, in percent";
  return [table(caption, headings, rows), make("p", { class: "lt-quiet" }, summaryOf(runs, target))];
}

/** @param {Run[]} runs @param {number} target */
function summaryOf(runs, target) {
  const parts = [];
  for (const [way, name] of /** @type {const} */ ([["oneView", "one view"], ["nineViews", "nine views"]])) {
    const { mean, sd } = meanAndSpread(runs.map((run) => /** @type {number} */ (lastOf(run, way).at(-1))));
    const spread = sd === null ? "a spread needs a second run" : `standard deviation ${sd.toFixed(2)}`;
    const { end, hold } = reaching(runs, way, target);
    parts.push(
      `by ${name} ${mean.toFixed(2)} % on average (${spread}); ${end} of ${runs.length} ` +
        `end at ${target} % or above, ${hold} hold it in each of the last three epochs`,
    );
  }
  return `On the validation images: ${parts.join("; ")}.`;
}

/** A judgement of test images in words. @param {{oneView: Judgement, nineViews: Judgement}} test */
export function testInWords({ oneView, nineViews }) {
  const of = (/** @type {Judgement} */ one) =>
    `${inPercent(accuracyOf(one))} (± ${standardError(one).toFixed(2)}, the standard error)`;
  const images = oneView.images.toLocaleString("en");
  return `Of the ${images} test images it reads ${of(oneView)} by one view each, ${of(nineViews)} by nine.`;
}

/** A finished run in a sentence. @param {Run} run */
export function resultOf({ seed, epochs, test }) {
  const last = /** @type {Run["epochs"][0]} */ (epochs.at(-1));
  const of = (/** @type {Judgement | null} */ one) => (one ? inPercent(accuracyOf(one)) : "unknown");
  const judged = `${of(last.oneView)} of the validation images by one view, ${of(last.nineViews)} by nine`;
  const opened = test
    ? `; ${of(test.oneView)} of the test images by one view, ${of(test.nineViews)} by nine`
    : "";
  return `Seed ${seed}: ${judged}${opened}.`;
}
