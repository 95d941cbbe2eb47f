// @ts-check
/**
 * The Lab's training: starts it, watches it, judges what came out, and compares.
 *
 *     const panel = mount(trainSection, afterSection, { design: () => …, onChange: (callback) => … });
 *     panel.trained(); // null, or the weights with their layers and run
 *     panel.runs(); // all finished ones of the design on the page
 *
 * All computing is done by worker.js. Here is one state (`now`); every message of the worker and
 * every event changes it, and `show` brings the page up to it.
 */

import { make } from "../elements.js";
import { showNetwork } from "./after.js";
import { analyze, networkOf } from "./analysis.js";
import { ASSIGNMENT, isWritable } from "./design.js";
import { keyOf } from "./fragment.js";
import * as keeping from "./keeping.js";
import { fromText } from "./numbers.js";
import { inPercent, tableOfEpochs, tableOfRuns, testInWords } from "./results.js";
import { curves, frontier, recordedOver } from "./training_charts.js";
import { build, needsServer, rootOf, whenSeen } from "./training_page.js";
import { UNHEARD, estimate, ofTest, progress, stopped } from "./training_words.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./keeping.js").Run} Run */
/** @typedef {import("./keeping.js").Network} Network */
/** @typedef {import("./training_charts.js").Recorded} Recorded */
/** @typedef {import("./training_charts.js").Records} Records */
/** @typedef {import("../engine/description.js").Layer} Layer */
/** @typedef {Panel["now"]} Now */

/**
 * @typedef {object} Trained
 * @property {Design} design
 * @property {Layer[]} layers
 * @property {Record<string, Float32Array>} weights by their names in a state dict
 * @property {Run} run the one that these weights are of
 *
 * @typedef {object} Options
 * @property {() => Design} design the one on the page
 * @property {(callback: () => void) => void} onChange called back whenever it is another
 * @property {(design: Design) => void} [adopt] show this design: a kept training goes on with it
 * @property {() => void} [onTrained] called when `trained` says something else than before
 */

const POINTS = 300; // of the loss curve
const SETTLED = 700; // ms without an edit before a design is timed
const ASKED = 2000; // ms between two questions whether the worker is there
const SILENT = 15; // questions without an answer: it sleeps, or is gone
const SLEPT = 5000; // ms that a question came late: the browser let this page sleep
const PATIENCE = 3000; // ms for a worker to stop by itself

/**
 * @param {HTMLElement} trainSection @param {HTMLElement} afterSection @param {Options} options
 * @returns {{trained: () => Trained | null, runs: () => Run[]}}
 */
export function mount(trainSection, afterSection, options) {
  if (location.protocol === "file:") {
    trainSection.replaceChildren(needsServer());
    return { trained: () => null, runs: () => [] };
  }
  const panel = new Panel(trainSection, afterSection, options);
  return { trained: () => panel.trained(), runs: () => panel.runsOfPage() };
}

class Panel {
  /** @param {HTMLElement} place @param {HTMLElement} after @param {Options} options */
  constructor(place, after, options) {
    this.after = after;
    this.options = options;
    this.root = rootOf(place);
    /** @type {Worker | null} */
    this.worker = null;
    /** @type {Records | null} */
    this.records = null;
    this.now = {
      /** @type {"idle" | "starting" | "data" | "training" | "paused" | "testing"} */ phase: "idle",
      /** @type {Network | null} the last that was trained, or is being trained */ network: null,
      /** @type {Record<string, Float32Array> | null} of its last whole epoch */ weights: null,
      steps: 0, done: 0, speed: 0, loss: NaN, received: 0, total: 0,
      bucket: { sum: 0, count: 0 },
      /** @type {{trained: number, judged: number} | null} images a second of the design on the page */
      measured: null,
      /** @type {number | null} of the stage whose record is drawn over; null: not chosen by hand */
      over: null,
      /** @type {any[] | null} */ mistakes: null,
      note: "",
      /** Why the browser keeps nothing, in a sentence. */ unkept: "",
      silent: 0,
    };
    /** What was there before the training under way. @type {Partial<Panel["now"]>} */
    this.before = {};
    this.page = build(place);
    this.page.start.addEventListener("click", () => this.start());
    this.page.pause.addEventListener("click", () => this.pause());
    this.page.stop.addEventListener("click", () => this.stop());
    this.page.test.addEventListener("click", () => this.openTest());
    this.page.over.addEventListener("change", () => {
      this.now.over = Number(this.page.over.value);
      this.show();
    });
    const kept = keeping.keptNetwork();
    if (kept) this.now.network = kept;
    if (kept) this.now.weights = readWeights(kept);
    if (kept && !this.now.weights) this.now.network = null;
    this.timer = 0;
    this.seen = false;
    options.onChange(() => this.changed());
    whenSeen(place, () => {
      this.seen = true;
      this.fetchRecords();
      this.changed();
    });
    this.show();
    this.showAfter();
  }

  // --- What the reader does ---------------------------------------------------------------------

  /** Another design: what is known of it is shown, and it is timed once it stays. */
  changed() {
    this.now.measured = null;
    clearTimeout(this.timer);
    if (this.seen) this.timer = setTimeout(() => this.measure(), SETTLED);
    this.show();
  }

  measure() {
    const design = this.trainable();
    if (!design || this.now.phase !== "idle" || typeof Worker === "undefined") return;
    this.send({ kind: "measure", plan: planOf(design, 0), key: keyOf(design) });
  }

  /** @param {Network | null} kept to go on from */
  start(kept = null) {
    const design = kept?.design ?? this.trainable();
    if (!design || this.now.phase !== "idle") return;
    if (typeof Worker === "undefined") {
      this.complain("this browser has no workers, which training needs");
      return;
    }
    const { now } = this;
    this.before = { network: now.network, weights: now.weights };
    if (!kept) {
      const seed = this.nextSeed();
      const { parameters } = analyze(design);
      const run = { design: keyOf(design), parameters, seed, epochs: [], finished: false, test: null };
      const { layers, recipe } = structuredClone(design);
      now.network = { design: { layers, recipe }, run, losses: [], kept: none() };
      now.weights = null;
    }
    const network = /** @type {Network} */ (now.network);
    const done = network.run.epochs.length; // what came after the last whole epoch begins anew
    network.losses = network.losses.filter(([at]) => at <= done);
    Object.assign(now, { phase: "starting", speed: 0, received: 0, total: 0, loss: NaN, note: "", silent: 0 });
    Object.assign(now, { bucket: { sum: 0, count: 0 }, mistakes: null });
    this.problem("");
    const plan = planOf(network.design, network.run.seed);
    const folder = new URL("assets/mnist/", this.root).href;
    this.send({ kind: "train", plan, folder, kept: kept && network.kept });
    this.listen();
    this.show();
    this.showAfter();
    this.page.figures.focus(); // the button that was pressed is gone; Stop would lose the run
  }

  goOn() {
    const { network } = this.now;
    if (!network) return;
    this.options.adopt?.(network.design);
    this.start(network);
  }

  forget() {
    keeping.forgetNetwork();
    Object.assign(this.now, { network: null, weights: null, mistakes: null, note: "" });
    this.show();
    this.showAfter();
  }

  pause() {
    const paused = this.now.phase === "paused";
    this.send({ kind: paused ? "goOn" : "pause" });
    this.now.phase = paused ? "training" : "paused";
    this.say(paused ? "Training goes on." : "Paused.");
    this.show();
  }

  stop() {
    this.send({ kind: "stop" });
    // The worker hears it between two steps. One that does not is let go.
    clearTimeout(this.patience);
    this.patience = setTimeout(() => {
      this.letGo();
      this.ended(stopped(this.now));
      this.show();
      this.showAfter();
    }, PATIENCE);
  }

  openTest() {
    const { network, weights, phase } = this.now;
    if (!network?.run.finished || !weights || phase !== "idle") return;
    this.now.phase = "testing";
    this.problem("");
    this.loadIntoWorker();
    this.listen();
    this.send({ kind: "test", folder: new URL("assets/mnist/", this.root).href });
    this.show();
  }

  askForMistakes() {
    if (this.now.phase !== "idle" || !this.now.weights) return;
    this.now.phase = "testing";
    this.loadIntoWorker();
    this.listen();
    this.send({ kind: "mistakes", folder: new URL("assets/mnist/", this.root).href });
    this.show();
  }

  /** After a reload the worker does not know the network. */
  loadIntoWorker() {
    const { network } = this.now;
    if (this.loaded === network || !network) return;
    const plan = planOf(network.design, network.run.seed);
    this.send({ kind: "load", plan, weights: network.kept.weights });
    this.loaded = network;
  }

  // --- The worker -------------------------------------------------------------------------------

  /** @param {any} message */
  send(message) {
    if (!this.worker) {
      const address = new URL("javascripts/lab/worker.js", this.root);
      const worker = new Worker(address, { type: "module" });
      worker.addEventListener("message", ({ data }) => {
        if (worker === this.worker) this.receive(data);
      });
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        this.letGo();
        const reason = event.message || "no reason is given";
        this.complain(`what trains beside the page, a worker, failed (${reason}): start again`);
      });
      this.worker = worker;
    }
    this.worker.postMessage(message);
  }

  letGo() {
    this.worker?.terminate();
    this.worker = null;
    this.loaded = null;
  }

  /**
   * Ask the worker now and then whether it is there: a browser may end it without a word. Questions
   * are counted, not seconds, so that a page which slept itself blames nobody.
   */
  listen() {
    this.now.silent = 0;
    clearInterval(this.watch);
    let before = Date.now();
    this.watch = setInterval(() => {
      const late = Date.now() - before - ASKED;
      before += late + ASKED;
      if (late > SLEPT) this.now.note = "The browser let this page sleep for a while; nothing was lost.";
      this.now.silent += 1;
      this.send({ kind: "ask" });
      if (this.now.silent === SILENT) this.show();
    }, ASKED);
  }

  /** Nothing runs any more: what was finished stays, or else what was there before. */
  idle() {
    clearInterval(this.watch);
    clearTimeout(this.patience);
    const { now } = this;
    if (now.network && !now.network.run.epochs.length) Object.assign(now, this.before);
    Object.assign(now, { phase: "idle", silent: 0 });
  }

  /** @param {any} data */
  receive(data) {
    const { now } = this;
    const wasSilent = now.silent >= SILENT;
    now.silent = 0;
    if (data.kind === "here" && !wasSilent) return;
    /** @type {Record<string, () => void>} */
    const KINDS = {
      measured: () => {
        const design = this.trainable();
        if (design && data.key === keyOf(design)) now.measured = data;
      },
      data: () => Object.assign(now, { phase: "data", received: data.received, total: data.total }),
      started: () => {
        const done = (now.network?.run.epochs.length ?? 0) * (data.steps / this.epochs());
        Object.assign(now, { phase: "training", steps: data.steps, done });
        this.loaded = now.network;
        this.say("Training began.");
      },
      progress: () => this.progress(data),
      epoch: () => this.epoch(data),
      stopped: () => this.ended(stopped(this.now)),
      finished: () => this.finished(),
      tested: () => this.tested(data),
      mistakes: () => {
        this.idle();
        now.mistakes = data.mistakes;
      },
      // A design that could not be timed says so, unless it is being trained: that says it, too.
      problem: () => (data.of !== "measure" || now.phase === "idle") && this.complain(data.text),
    };
    KINDS[data.kind]?.();
    this.show();
    if (["epoch", "finished", "stopped", "tested", "mistakes"].includes(data.kind)) this.showAfter();
  }

  /** @param {{done: number, losses: number[], speed: number}} data */
  progress({ done, losses, speed }) {
    const { now } = this;
    const network = /** @type {Network} */ (now.network);
    const together = Math.max(1, Math.ceil(now.steps / POINTS));
    const first = done - losses.length;
    losses.forEach((loss, i) => {
      now.bucket.sum += loss;
      now.bucket.count += 1;
      if (now.bucket.count < together) return;
      const at = ((first + i + 1 - together / 2) / now.steps) * this.epochs();
      network.losses.push([Number(at.toFixed(3)), Number((now.bucket.sum / together).toPrecision(4))]);
      now.bucket = { sum: 0, count: 0 };
    });
    Object.assign(now, { done, speed, loss: losses.at(-1) ?? now.loss });
  }

  /** @param {any} data */
  epoch({ trained, oneView, nineViews, kept, weights }) {
    const { now } = this;
    const network = /** @type {Network} */ (now.network);
    network.run.epochs.push({ trained, oneView, nineViews });
    network.run.finished = network.run.epochs.length === this.epochs();
    network.kept = kept;
    now.weights = weights;
    now.unkept = keeping.keepNetwork(network) ?? "";
    const done = `Epoch ${network.run.epochs.length} of ${this.epochs()}`;
    this.say(`${done}: ${inPercent(oneView)} of the validation images.`);
  }

  finished() {
    const { run } = /** @type {Network} */ (this.now.network);
    this.now.unkept = keeping.keepRuns([...keeping.keptRuns(), run]) ?? this.now.unkept;
    this.ended("The training is finished.");
  }

  /** @param {string} line */
  ended(line) {
    const had = document.activeElement;
    const wasHere = had === this.page.pause || had === this.page.stop;
    this.idle();
    this.now.note = line;
    this.say(line);
    this.show();
    if (wasHere) this.page.start.focus();
    if (!this.now.measured) this.measure();
  }

  /** @param {any} data */
  tested({ oneView, nineViews, mistakes }) {
    const { now } = this;
    const network = /** @type {Network} */ (now.network);
    this.idle();
    network.run.test = { oneView, nineViews };
    now.mistakes = mistakes;
    now.unkept = keeping.countOpening(network.run.design) ?? "";
    const { design, seed } = network.run;
    keeping.keepRuns(keeping.keptRuns().map((run) =>
      run.design === design && run.seed === seed ? { ...run, test: network.run.test } : run,
    ));
    keeping.keepNetwork(network);
    this.say(testInWords({ oneView, nineViews }));
  }

  /** @param {string} text what went wrong; whatever was finished stays */
  complain(text) {
    this.idle();
    this.loaded = null;
    this.problem(`${text.charAt(0).toUpperCase()}${text.slice(1)}.`);
    this.show();
  }

  /** In percent: the task's, where an instructor gave one. */
  get target() {
    return this.options.design().task?.target ?? ASSIGNMENT.target;
  }

  // --- What is known ------------------------------------------------------------------------------

  /** The design on the page, if it can be trained. @returns {Design | null} */
  trainable() {
    const design = this.options.design();
    if (!isWritable(design)) return null;
    return analyze(design).problems.some(({ fatal }) => fatal) ? null : design;
  }

  /** Of the network that is trained. */
  epochs() {
    return this.now.network?.design.recipe.epochs ?? 1;
  }

  /** All finished ones. @param {string} design */
  runsOf(design) {
    return keeping.keptRuns().filter((run) => run.design === design);
  }

  /** Of the design on the page. */
  runsOfPage() {
    const design = this.options.design();
    return isWritable(design) ? this.runsOf(keyOf(design)) : [];
  }

  /** The smallest that the design on the page was not yet trained with. */
  nextSeed() {
    const used = this.runsOfPage().map(({ seed }) => seed);
    let seed = 0;
    while (used.includes(seed)) seed += 1;
    return seed;
  }

  /** @returns {Trained | null} */
  trained() {
    const { network, weights } = this.now;
    if (!network || !weights) return null;
    const { design, run } = network;
    return { design, layers: networkOf(design), weights, run };
  }

  async fetchRecords() {
    try {
      const answer = await fetch(new URL("assets/lab/records.json", this.root));
      if (!answer.ok) throw new Error(`${answer.status}`);
      this.records = await answer.json();
    } catch {
      this.now.note = "The recorded trainings cannot be read now, so none is drawn beside yours.";
    }
    const stages = this.records?.stages ?? [];
    for (const { number, title } of stages) {
      this.page.over.append(new Option(`stage ${number}: ${title}`, `${number}`));
    }
    this.show();
  }

  // --- What is shown ------------------------------------------------------------------------------

  show() {
    const { now, page } = this;
    const design = this.trainable();
    const { network, phase } = now;
    const isRunning = ["starting", "data", "training", "paused"].includes(phase);

    page.estimate.textContent = estimate(design, now.measured);
    const seed = this.nextSeed();
    page.start.textContent = seed ? `Again with another seed (${seed})` : "Train";
    page.start.disabled = !design || phase !== "idle";
    page.start.hidden = isRunning;
    const isSilent = now.silent >= SILENT;
    page.pause.hidden = !isRunning;
    page.stop.hidden = !isRunning && !(phase === "testing" && isSilent);
    page.pause.disabled = !["training", "paused"].includes(phase);
    page.pause.textContent = phase === "paused" ? "Go on" : "Pause";
    page.kept.hidden = true;
    if (network && !isRunning) this.showKept(network);

    page.progress.hidden = !isRunning;
    page.progress.value = phase === "data" || phase === "starting"
      ? now.received / (now.total || 1)
      : now.done / (now.steps || 1);
    page.figures.textContent = isRunning ? progress(now) : "";
    page.figures.hidden = !isRunning;
    page.note.textContent = [isSilent && UNHEARD, now.unkept, now.note].filter(Boolean).join(" ");
    page.note.hidden = !page.note.textContent;

    const hasCurves = Boolean(network && (network.losses.length || network.run.epochs.length));
    const parameters = network?.run.parameters ?? (design && analyze(design).parameters);
    const recorded = recordedOver(this.records?.stages ?? [], now.over, parameters);
    page.over.value = `${recorded?.number ?? 0}`;
    page.curves.replaceChildren(...(hasCurves || recorded ? curves(network, recorded, this.target) : []));
    page.curves.hidden = !page.curves.childElementCount;
    // Who chose to draw nothing can choose again.
    page.overRow.hidden = page.curves.hidden && now.over === null;
    this.showEpochs(network);
    this.showJudged(design);
    const runs = keeping.keptRuns();
    page.frontier.hidden = !this.records || !runs.length;
    if (this.records && runs.length) {
      page.frontier.replaceChildren(...frontier(runs, this.records, this.target));
    }
  }

  /** @param {Network} network */
  showKept(network) {
    const { kept: element } = this.page;
    const { run, design } = network;
    const last = run.epochs.at(-1);
    if (!last) return;
    const what = `${run.parameters.toLocaleString("en")} parameters, seed ${run.seed}`;
    const accuracy = `${inPercent(last.oneView)} of the validation images`;
    const forget = make("button", { type: "button", class: "md-button" }, "Forget it");
    forget.addEventListener("click", () => this.forget());
    if (run.finished) {
      const kept = this.now.unkept ? "" : " It is kept in this browser.";
      const text = `Your trained network: ${what}, ${accuracy} by one view; ± is the standard error.${kept}`;
      element.replaceChildren(make("p", {}, text), forget);
    } else {
      const epochs = `${run.epochs.length} of ${design.recipe.epochs} epochs`;
      const goOn = make("button", { type: "button", class: "md-button" }, "Go on from there");
      goOn.addEventListener("click", () => this.goOn());
      const text = `A training is kept here: ${what}, ${epochs} done, ${accuracy} so far; ± is the standard error.`;
      element.replaceChildren(make("p", {}, text), goOn, forget);
    }
    element.hidden = false;
  }

  /** @param {Network | null} network */
  showEpochs(network) {
    const { epochs } = this.page;
    const done = network?.run.epochs ?? [];
    epochs.hidden = !done.length;
    if (epochs.childElementCount && this.shownEpochs === done && this.shownCount === done.length) return;
    [this.shownEpochs, this.shownCount] = [done, done.length];
    epochs.replaceChildren(make("summary", {}, "Epoch by epoch"), tableOfEpochs(done));
  }

  /** @param {Design | null} design */
  showJudged(design) {
    const { page, now } = this;
    const runs = design ? this.runsOf(keyOf(design)) : [];
    const said = JSON.stringify([runs.map(({ design, seed, test }) => [design, seed, test]), this.target]);
    if (said !== this.said) {
      page.judged.replaceChildren(...(runs.length ? tableOfRuns(runs, this.target) : []));
    }
    this.said = said; // a table that is the same stays: who reads it by keyboard stays in it

    const run = now.network?.run;
    page.test.hidden = !run?.finished || Boolean(run.test);
    page.test.disabled = now.phase !== "idle";
    page.testText.textContent = now.phase === "testing" ? "Judging." : run ? ofTest(run) : "";
    page.testRow.hidden = page.test.hidden && !page.testText.textContent;
  }

  /** The network, or what is known of it, is another. */
  showAfter() {
    const { now } = this;
    this.options.onTrained?.();
    const trained = this.trained();
    showNetwork(this.after, trained, {
      mistakes: now.mistakes,
      ofTest: Boolean(trained?.run.test),
      ask: () => this.askForMistakes(),
    });
  }

  /** @param {string} text */
  problem(text) {
    this.page.problem.textContent = text;
    this.page.problem.hidden = !text;
  }

  /** To who listens. @param {string} text */
  say(text) {
    this.page.spoken.textContent = text;
  }
}

// --- Small helpers --------------------------------------------------------------------------------

/** @param {Design} design @param {number} seed @returns {import("./training.js").Plan} */
function planOf(design, seed) {
  return { layers: networkOf(design), recipe: design.recipe, seed };
}

/** Nothing to go on from yet. @returns {import("./worker.js").Kept} */
const none = () => ({ epochs: 0, weights: {}, velocities: {} });

/** @param {Network} network @returns {Record<string, Float32Array> | null} null when damaged */
function readWeights({ kept }) {
  try {
    return fromText(kept.weights);
  } catch {
    return null;
  }
}
