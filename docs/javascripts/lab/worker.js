// @ts-check
/**
 * Trains and judges beside the page, which so stays awake. The engine is compiled here: a worker
 * that is loaded from an address has no policy of the page that starts it.
 *
 * The page sends {kind, …}; what each kind wants and answers stands in WANTED below. While a
 * training runs, "pause", "goOn" and "stop" are heard between its steps, and "ask", which is answered
 * with "here". What goes wrong is told in one line: {kind: "problem", of, text}.
 *
 * @typedef {import("./training.js").Plan} Plan
 * @typedef {import("./training.js").Trained} Trained
 * @typedef {import("./views.js").Judged} Judged
 *
 * @typedef {{epochs: number, weights: Record<string, string>, velocities: Record<string, string>}}
 *   Kept a training's state as text
 */

import { Trainer, compiled } from "../engine/trainer.js";
import { digitsOf, listed } from "./digits.js";
import { asText, fromText } from "./numbers.js";
import { PIXELS } from "./pixels.js";
import { Training } from "./training.js";
import { judge } from "./views.js";

const VALIDATION = 5000; // the last of the training images, as in mnist_steps/data.py

const CHUNK = 40; // ms of steps between two looks at what the page wants
const REPORT = 250; // ms between two reports
const SLEPT = 5000; // ms for a step: rather, the browser let this tab sleep
const TIMED = 400; // ms for an estimate
const LAST = 3; // epochs judged by nine views, too: those in which a target has to hold
const SHOWN = 48; // mistakes, the surest first
const IMAGE = 28 * 28;

/** @type {Promise<WebAssembly.Module> | null} */
let compiling = null;

/** The engine, compiled once; where it could not be had, whoever asks next tries again. */
function engine() {
  compiling ??= compiled(new URL("../engine/engine.wasm", import.meta.url)).catch((error) => {
    compiling = null;
    throw error;
  });
  return compiling;
}

/** @type {import("./digits.js").Digits | null} of the training set, all 60,000 */
let digits = null;
/** @type {{training: Training, weights: Record<string, Float32Array>} | null} finished epochs */
let trained = null;
let paused = false, stopped = false;
let wake = () => {}; // from the pause

/** Let messages come in. A timer would take 4 ms each time. */
const breathe = () =>
  new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      done(undefined);
    };
    port2.postMessage(null);
  });

/** @type {Record<string, (given: any) => Promise<void> | void>} */
const WANTED = {
  /** How fast a design would train here: {plan, key} → {kind: "measured", key, trained, judged}. */
  measure: async ({ plan, key }) => {
    postMessage({ kind: "measured", key, ...speedOf(plan, await engine()) });
  },

  /**
   * Train: {plan, kept, folder}. kept: a state to go on from, or null; folder: of the digits.
   * → "data" while digits come, "started", "progress" now and then, "epoch" after each,
   * and at last "finished", or "stopped".
   */
  train: async ({ plan, kept, folder }) => {
    stopped = paused = false;
    const module = await engine();
    const { images, labels } = await trainingDigits(folder);
    const split = labels.length - VALIDATION;
    const state = kept && {
      epochs: kept.epochs,
      weights: fromText(kept.weights),
      velocities: fromText(kept.velocities),
    };
    const parts = [images.subarray(0, split * IMAGE), labels.subarray(0, split)];
    const training = new Training(module, plan, parts[0], parts[1], state);
    trained = { training, weights: training.trainer.weights() };
    postMessage({ kind: "started", steps: training.steps, images: training.images });
    await run(training);
  },

  /** Judge on the test images: {folder} → {kind: "tested", judged}. */
  test: async ({ folder }) => {
    const { images, labels } = await digitsOf("t10k", folder, () => {});
    const judged = await judgedOn(images, labels, 1);
    postMessage({ kind: "tested", ...told(judged, images, labels) });
  },

  /** The digits of the validation set that are read wrongly: {} → {kind: "mistakes", mistakes}. */
  mistakes: async ({ folder }) => {
    const { images, labels } = validation(await trainingDigits(folder));
    const judged = await judgedOn(images, labels, 0);
    postMessage({ kind: "mistakes", mistakes: told(judged, images, labels).mistakes });
  },

  /** A network that was trained before, to judge it: {plan, weights}. */
  load: async ({ plan, weights }) => {
    const none = new Uint8Array(0);
    const training = new Training(await engine(), plan, none, none);
    training.trainer.load(fromText(weights));
    trained = { training, weights: training.trainer.weights() };
  },
};

let before = Promise.resolve();
addEventListener("message", ({ data }) => {
  if (data.kind === "ask") postMessage({ kind: "here" });
  else if (data.kind === "pause") paused = true;
  else if (data.kind === "goOn" || data.kind === "stop") {
    stopped = data.kind === "stop";
    paused = false;
    wake();
  } else {
    before = before.then(() => WANTED[data.kind](data)).catch((error) => complain(error, data.kind));
  }
});

/** @param {unknown} error @param {string} of the kind of what was wanted */
function complain(error, of) {
  const text = error instanceof Error ? error.message : String(error);
  const isMemory = error instanceof RangeError;
  const line = `this device has no memory for it (${text}): close other pages, or make the batch smaller`;
  postMessage({ kind: "problem", of, text: isMemory ? line : text });
}

/**
 * All training digits. The test's are fetched along, so that the Lab works without a network later.
 * @param {string} folder
 */
async function trainingDigits(folder) {
  if (digits) return digits;
  const files = await listed(folder);
  const total = files.reduce((sum, { packed }) => sum + packed, 0);
  /** @type {Record<string, number>} */
  const came = {};
  let told = 0;
  const onProgress = (/** @type {string} */ name, /** @type {number} */ bytes) => {
    came[name] = bytes;
    if (performance.now() - told < 100) return;
    told = performance.now();
    const received = Object.values(came).reduce((sum, one) => sum + one, 0);
    postMessage({ kind: "data", received, total });
  };
  const found = await digitsOf("train", folder, onProgress);
  await digitsOf("t10k", folder, onProgress);
  return (digits = found);
}

/** @param {import("./digits.js").Digits} all */
function validation({ images, labels }) {
  const split = labels.length - VALIDATION;
  return { images: images.subarray(split * IMAGE), labels: labels.subarray(split) };
}

/** @param {Training} training */
async function run(training) {
  const { recipe } = training.plan;
  let since = performance.now(), spent = 0, seen = 0, losses = [];
  const report = () => {
    const done = training.epochs * training.stepsPerEpoch + (training.epoch?.step ?? 0);
    const speed = spent ? seen / (spent / 1000) : 0;
    postMessage({ kind: "progress", done, losses, speed });
    losses = [];
    since = performance.now();
    // The speed of the last seconds: a phone that grows hot slows down.
    if (spent > 5000) [spent, seen] = [spent / 2, seen / 2];
  };
  while (!training.finished) {
    const start = performance.now();
    let ended = null;
    while (!ended && performance.now() - start < CHUNK) {
      const { loss, images, trained } = training.step();
      if (!Number.isFinite(loss)) throw new Error(diverged(training));
      losses.push(loss);
      seen += images;
      ended = trained;
    }
    const took = performance.now() - start;
    if (took < SLEPT) spent += took;
    if (ended) {
      report();
      await endOfEpoch(training, ended, recipe);
      since = performance.now();
    } else if (performance.now() - since > REPORT) report();
    await breathe();
    if (paused) {
      report();
      await new Promise((done) => (wake = () => done(undefined)));
    }
    if (stopped) {
      training.trainer.load(trained?.weights ?? {}); // what is judged now is a whole epoch's
      return postMessage({ kind: "stopped" });
    }
  }
  postMessage({ kind: "finished" });
}

/** @param {Training} training */
function diverged({ epochs, plan: { recipe } }) {
  const rate = recipe.schedule === "constant" ? "the learning rate" : "the peak";
  return `the loss is no number any more, in epoch ${epochs + 1}: make ${rate} smaller`;
}

/**
 * Judge on the validation images, and hand over what is to be kept.
 * @param {Training} training @param {Trained} ended @param {import("./training.js").Recipe} recipe
 */
async function endOfEpoch(training, ended, recipe) {
  const state = training.state();
  trained = { training, weights: state.weights };
  const { images, labels } = validation(/** @type {import("./digits.js").Digits} */ (digits));
  const isOneOfLast = training.epochs > recipe.epochs - LAST;
  const judged = await judgedOn(images, labels, isOneOfLast ? 1 : 0);
  const kept = { ...state, weights: asText(state.weights), velocities: asText(state.velocities) };
  const { oneView, nineViews } = judged;
  postMessage({ kind: "epoch", trained: ended, oneView, nineViews, kept, weights: state.weights });
}

/**
 * The network as it was after its last whole epoch.
 * @param {Uint8Array} images @param {Uint8Array} labels @param {number} reach
 * @returns {Promise<Judged>}
 */
function judgedOn(images, labels, reach) {
  if (!trained) throw new Error("there is no trained network to judge");
  const { trainer } = trained.training;
  return judge((part) => trainer.evaluate(part), images, labels, reach, () => breathe());
}

/** @param {Judged} judged @param {Uint8Array} images @param {Uint8Array} labels */
function told({ oneView, nineViews, answers, sure }, images, labels) {
  const wrong = Array.from(labels.keys()).filter((i) => answers[i] !== labels[i]);
  wrong.sort((one, other) => sure[other] - sure[one]);
  const mistakes = wrong.slice(0, SHOWN).map((i) => {
    const pixels = images.slice(i * IMAGE, (i + 1) * IMAGE);
    return { position: i, label: labels[i], answer: answers[i], sure: sure[i], pixels };
  });
  return { oneView, nineViews, wrong: wrong.length, mistakes };
}

/**
 * Images a second, trained and judged, found by a few steps with images that are noise.
 * @param {Plan} plan @param {WebAssembly.Module} module
 */
function speedOf(plan, module) {
  const count = Math.min(plan.recipe.batchSize, 128);
  const images = Uint8Array.from({ length: count * IMAGE }, (_, i) => (i * 7919) % 256);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % 10);
  const trainer = new Trainer(
    module,
    { layers: plan.layers, normalize: PIXELS, momentum: 0.9 },
    images,
    labels,
  );
  const chosen = labels.map((_, i) => i);
  const maps = new Float32Array(6 * count).map((_, i) => (i % 6 === 0 || i % 6 === 4 ? 1 : 0));
  /** A second's images, once the compiler has warmed up. @param {() => void} task */
  const timed = (task) => {
    for (let warm = performance.now(); performance.now() - warm < TIMED / 4; ) task();
    const start = performance.now();
    let times = 0;
    for (; performance.now() - start < TIMED / 4; times++) task();
    return (count * times) / ((performance.now() - start) / 1000);
  };
  return {
    trained: timed(() => trainer.step(chosen, maps, 0)),
    judged: timed(() => trainer.evaluate(images)),
  };
}
