// @ts-check
/**
 * What the browser keeps of the reader's trainings, in its local storage: the last network with
 * all that is needed to go on, the figures of all runs, and how often the test set was opened.
 *
 * Browsers may keep nothing, or have no room. Then a sentence says so, and all of it stays for as long
 * as the page does.
 */

const NETWORK = "mnist-steps-lab-network";
const RUNS = "mnist-steps-lab-runs";
const OPENED = "mnist-steps-lab-opened";
const FORMAT = 1;
const MOST_RUNS = 60;

/** What was read or written, by its key. @type {Map<string, any>} */
const known = new Map();
addEventListener("storage", ({ key }) => (key === null ? known.clear() : known.delete(key))); // another page's

/** @typedef {import("./views.js").Judgement} Judgement */

/**
 * Of one training. Epochs are in their order.
 * @typedef {object} Run
 * @property {string} design what it is a run of: the fragment without the task
 * @property {number} parameters
 * @property {number} seed
 * @property {{trained: import("./training.js").Trained, oneView: Judgement,
 *   nineViews: Judgement | null}[]} epochs
 * @property {boolean} finished
 * @property {{oneView: Judgement, nineViews: Judgement} | null} test once it was opened
 *
 * @typedef {object} Network
 * @property {import("./design.js").Design} design
 * @property {Run} run
 * @property {[number, number][]} losses means over a few steps: the epoch, and the loss
 * @property {import("./worker.js").Kept} kept
 */

/** @returns {Network | null} */
export function keptNetwork() {
  const found = read(NETWORK);
  const isWhole = found?.format === FORMAT && found.kept?.weights && found.run && found.design;
  return isWhole ? found : null;
}

/** @param {Network} network @returns {string | null} why it could not be kept, in a sentence */
export function keepNetwork(network) {
  return write(NETWORK, { format: FORMAT, ...network });
}

export function forgetNetwork() {
  known.delete(NETWORK);
  try {
    localStorage.removeItem(NETWORK);
  } catch {
    // There is nothing, then.
  }
}

/** @returns {Run[]} */
export function keptRuns() {
  const found = read(RUNS);
  return found?.format === FORMAT && Array.isArray(found.runs) ? found.runs : [];
}

/** @param {Run[]} runs the oldest go first @returns {string | null} as above */
export function keepRuns(runs) {
  return write(RUNS, { format: FORMAT, runs: runs.slice(-MOST_RUNS) });
}

/** How often the test set was opened, by design. @returns {Record<string, number>} */
export function openings() {
  const found = read(OPENED);
  return found?.format === FORMAT && found.counts ? found.counts : {};
}

/** @param {string} design @returns {string | null} as above */
export function countOpening(design) {
  const counts = openings();
  counts[design] = (counts[design] ?? 0) + 1;
  return write(OPENED, { format: FORMAT, counts });
}

/** @param {string} key @returns {any} null where there is nothing, or nothing that can be read */
function read(key) {
  if (!known.has(key)) known.set(key, readKept(key));
  return known.get(key);
}

/** @param {string} key */
function readKept(key) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

/** @param {string} key @param {unknown} content */
function write(key, content) {
  known.set(key, content);
  try {
    localStorage.setItem(key, JSON.stringify(content));
    return null;
  } catch (error) {
    const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
    return isFull
      ? "This browser has no room to keep the training: it is gone once you leave the page."
      : "This browser keeps nothing of pages: the training is gone once you leave this one.";
  }
}
