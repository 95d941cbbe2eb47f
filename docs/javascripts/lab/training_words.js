// @ts-check
/** What the training says of itself, in sentences. */

import { openings } from "./keeping.js";
import { testInWords } from "./results.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./keeping.js").Run} Run */
/** @typedef {import("./training_panel.js").Now} Now */

const IMAGES = 55000, VALIDATION = 5000;
const TOGETHER = 16; // images that the engine takes at a time

export const UNHEARD =
  "Nothing was heard of the computation for half a minute: it takes long steps, or the browser has put " +
  "it to sleep or ended it. Wait, or stop it: epochs that are done stay, and it goes on from there.";

/**
 * What a training would be, and how long it would take.
 * @param {Design | null} design
 * @param {{trained: number, judged: number} | null} measured images a second; null: not yet
 */
export function estimate(design, measured) {
  if (!design) return "The design has a mistake: what it is stands above. Then it can be trained.";
  const { epochs, batchSize } = design.recipe;
  const left = IMAGES % TOGETHER;
  const data = "The digits, about 12 MB, come with the first start and are then kept by this browser.";
  const what = `${epochs} ${epochs === 1 ? "epoch" : "epochs"} of ${IMAGES.toLocaleString("en")} images in batches of ${batchSize}, judged on ${VALIDATION.toLocaleString("en")} others after each`;
  const time = measured
    ? `about ${duration(secondsOf(design, measured))} on this device`
    : "its time is measured once the design stays as it is";
  return `${what}: ${time}. ${data} An epoch leaves out ${left} images, others each time, because batches are multiples of ${TOGETHER}.`;
}

/** @param {Design} design @param {{trained: number, judged: number}} measured */
function secondsOf({ recipe: { epochs } }, { trained, judged }) {
  const judgedImages = VALIDATION * (epochs + 8 * Math.min(3, epochs));
  return (epochs * IMAGES) / trained + judgedImages / judged;
}

/** What is going on, in one line. @param {Now} now */
export function progress({ phase, received, total, done, steps, speed, loss, network }) {
  if (phase === "starting") return "Starting.";
  if (phase === "data") {
    const megabytes = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(1);
    return `Fetching the digits: ${megabytes(received)} of ${megabytes(total)} MB.`;
  }
  if (!network || !steps) return "";
  const { recipe } = network.design;
  const perEpoch = steps / recipe.epochs;
  const epoch = Math.min(recipe.epochs, Math.floor(done / perEpoch) + 1);
  const where = `Epoch ${epoch} of ${recipe.epochs}, step ${done.toLocaleString("en")} of ${steps.toLocaleString("en")}`;
  const parts = [where];
  if (Number.isFinite(loss)) parts.push(`loss ${loss.toFixed(3)}`);
  if (speed) {
    const left = ((steps - done) * recipe.batchSize) / speed;
    parts.push(`${Math.round(speed).toLocaleString("en")} images a second`, `${duration(left)} left`);
  }
  return `${parts.join(" · ")}${phase === "paused" ? " · paused" : ""}`;
}

/** What a training leaves that is stopped. @param {Now} now */
export function stopped({ phase, network, unkept }) {
  const done = network?.run.epochs.length;
  if (phase === "testing") return "Stopped.";
  if (!done) return "Stopped in the first epoch: nothing of this training is kept.";
  const what = done === 1 ? "the epoch that is done stays" : `the ${done} epochs that are done stay`;
  return `Stopped: ${what}${unkept ? "" : ", kept in this browser"}.`;
}

/** What the test images say, or would, and how often they were looked at. @param {Run} run */
export function ofTest({ design, finished, test }) {
  if (!test && !finished) return "";
  const say = test
    ? testInWords(test)
    : "The test images judge a final network, once. While you still choose, the validation images do.";
  const counts = openings();
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  if (!all) return say;
  const times = (/** @type {number} */ count) => (count === 1 ? "once" : `${count} times`);
  const here = counts[design] ? `, ${times(counts[design])} for this design` : "";
  return `${say} You have opened the test set ${times(all)} in this browser${here}. Each look makes it less of a test.`;
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${(seconds / 3600).toFixed(1)} hours`;
}
