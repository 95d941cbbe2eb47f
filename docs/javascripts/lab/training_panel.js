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

import { make, table } from "../elements.js";
import { showNetwork } from "./after.js";
import { chart } from "./chart.js";
import { ASSIGNMENT, analyze, isWritable, keyOf, networkOf } from "./design.js";
import * as keeping from "./keeping.js";
import { fromText } from "./numbers.js";
import { accuracyOf, inPercent, tableOfRuns, testInWords, together, withError } from "./results.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./keeping.js").Run} Run */
/** @typedef {import("./keeping.js").Network} Network */
/** @typedef {import("./views.js").Judgement} Judgement */
/** @typedef {import("./results.js").Way} Way */
/** @typedef {import("../engine/description.js").Layer} Layer */

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
 *
 * @typedef {{stages: Recorded[], frontier: {label: string, parameters: number,
 *   seeds: number, oneView: number | null, nineViews: number | null}[]}} Records
 * @typedef {{number: number, title: string, parameters: number, seed: number, train: number[],
 *   test: number[], loss: [number, number][]}} Recorded
 */

const POINTS = 300; // of the loss curve
const SETTLED = 700; // ms without an edit before a design is timed
const IMAGES = 55000, VALIDATION = 5000;
const TOGETHER = 16; // images that the engine takes at a time
const CHANCE = Math.log(10); // the loss of who knows nothing
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

function needsServer() {
  const command = make("code", {}, "python3 -m http.server");
  const before = "Training needs a server: browsers let no page from a folder start it. Run ";
  return make("p", { class: "lt-server" }, before, command, " in the site’s folder, and open the address that it prints.");
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
    this.page = this.build(place);
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
      this.ended(this.stoppedInWords());
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
      stopped: () => this.ended(this.stoppedInWords()),
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

  stoppedInWords() {
    const { phase, network, unkept } = this.now;
    const done = network?.run.epochs.length;
    if (phase === "testing") return "Stopped.";
    if (!done) return "Stopped in the first epoch: nothing of this training is kept.";
    const what = done === 1 ? "the epoch that is done stays" : `the ${done} epochs that are done stay`;
    return `Stopped: ${what}${unkept ? "" : ", kept in this browser"}.`;
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

  /** @param {HTMLElement} place */
  build(place) {
    const page = {
      estimate: make("p", {}),
      start: make("button", { type: "button", class: "md-button md-button--primary" }, "Train"),
      pause: make("button", { type: "button", class: "md-button" }, "Pause"),
      stop: make("button", { type: "button", class: "md-button" }, "Stop"),
      problem: make("p", { class: "lt-problem", role: "alert" }),
      kept: make("div", { class: "lt-kept" }),
      progress: make("progress", { max: "1", "aria-label": "How far the training is" }),
      figures: make("p", { class: "lt-figures", tabindex: "-1" }),
      note: make("p", { class: "lt-quiet" }),
      over: make("select", {}, new Option("nothing", "0")),
      overRow: make("label", { class: "lt-over" }, "Draw over the curves: "),
      curves: make("div", { class: "lt-curves" }),
      epochs: make("details", { class: "fold" }),
      judged: make("div", {}),
      test: make("button", { type: "button", class: "md-button" }, "Open the test set"),
      testText: make("p", {}),
      testRow: make("div", { class: "lt-test" }),
      frontier: make("figure", { class: "lt-chart" }),
      spoken: make("p", { class: "lt-unseen", role: "status" }),
    };
    page.start.addEventListener("click", () => this.start());
    page.pause.addEventListener("click", () => this.pause());
    page.stop.addEventListener("click", () => this.stop());
    page.test.addEventListener("click", () => this.openTest());
    page.over.addEventListener("change", () => {
      this.now.over = Number(page.over.value);
      this.show();
    });
    page.overRow.append(page.over);
    page.testRow.append(page.test, page.testText);
    place.classList.add("lab-training");
    place.append(
      page.estimate,
      make("div", { class: "lt-buttons" }, page.start, page.pause, page.stop),
      page.problem, page.kept, page.progress, page.figures, page.note,
      page.overRow, page.curves, page.epochs, page.judged,
      page.testRow, page.frontier, page.spoken,
    ); // one after the other, as they are read
    return page;
  }

  show() {
    const { now, page } = this;
    const design = this.trainable();
    const { network, phase } = now;
    const isRunning = ["starting", "data", "training", "paused"].includes(phase);

    page.estimate.textContent = this.estimate(design);
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
    page.figures.textContent = isRunning ? this.figures() : "";
    page.figures.hidden = !isRunning;
    page.note.textContent = [isSilent && UNHEARD, now.unkept, now.note].filter(Boolean).join(" ");
    page.note.hidden = !page.note.textContent;

    const hasCurves = Boolean(network && (network.losses.length || network.run.epochs.length));
    const recorded = this.recordedOver(design);
    page.over.value = `${recorded?.number ?? 0}`;
    page.curves.replaceChildren(...(hasCurves || recorded ? this.curves(network, recorded) : []));
    page.curves.hidden = !page.curves.childElementCount;
    // Who chose to draw nothing can choose again.
    page.overRow.hidden = page.curves.hidden && now.over === null;
    this.showEpochs(network);
    this.showJudged(design);
    this.showFrontier();
  }

  /** @param {Design | null} design */
  estimate(design) {
    if (!design) return "The design has a mistake: what it is stands above. Then it can be trained.";
    const { epochs, batchSize } = design.recipe;
    const left = IMAGES % TOGETHER;
    const data = "The digits, about 12 MB, come with the first start and are then kept by this browser.";
    const what = `${epochs} ${epochs === 1 ? "epoch" : "epochs"} of ${IMAGES.toLocaleString("en")} images in batches of ${batchSize}, judged on ${VALIDATION.toLocaleString("en")} others after each`;
    const { measured } = this.now;
    const time = measured
      ? `about ${duration(this.secondsOf(design, measured))} on this device`
      : "its time is measured once the design stays as it is";
    return `${what}: ${time}. ${data} An epoch leaves out ${left} images, others each time, because batches are multiples of ${TOGETHER}.`;
  }

  /** @param {Design} design @param {{trained: number, judged: number}} measured */
  secondsOf({ recipe: { epochs } }, { trained, judged }) {
    const judgedImages = VALIDATION * (epochs + 8 * Math.min(3, epochs));
    return (epochs * IMAGES) / trained + judgedImages / judged;
  }

  /** What is going on, in one line. */
  figures() {
    const { phase, received, total, done, steps, speed, loss, network } = this.now;
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

  /**
   * The record that is drawn over: the reader's choice; otherwise that of the stage with as many
   * parameters, and for stage 3, which stands still at first, stage 4's, which does not.
   * @param {Design | null} design @returns {Recorded | null}
   */
  recordedOver(design) {
    const stages = this.records?.stages ?? [];
    const { over, network } = this.now;
    if (over !== null) return stages.find(({ number }) => number === over) ?? null;
    const parameters = network?.run.parameters ?? (design && analyze(design).parameters);
    const same = stages.find((stage) => stage.parameters === parameters);
    if (!same) return null;
    return same.number === 3 ? stages.find(({ number }) => number === 4) ?? null : same;
  }

  /** @param {Network | null} network @param {Recorded | null} recorded */
  curves(network, recorded) {
    const epochs = Math.max(network?.design.recipe.epochs ?? 0, recorded?.test.length ?? 0);
    const every = epochs > 8 ? 2 : 1;
    const marks = Array.from({ length: epochs }, (_, i) => i + 1).filter((one) => one % every === 0);
    const x = { from: 0, to: epochs, marks };
    const own = network?.losses ?? [];
    const other = recorded?.loss ?? [];
    const name = recorded ? `stage ${recorded.number}` : "";
    const loss = figureOf(
      chart({
        words: `Training loss by step. ${ofCurve("Yours", own)} ${ofCurve(name, other)}`,
        x,
        y: { from: 0.01, to: 4, log: true, marks: [0.01, 0.03, 0.1, 0.3, 1, 2.3] },
        series: [
          { label: name, kind: "other", points: other },
          { label: own.length ? "yours" : "", kind: "own", points: own },
        ],
        line: CHANCE,
      }),
      "Training loss by step over the epochs, on a logarithmic axis. Dashed: −log(1/10), the loss of " +
        "who knows nothing.",
    );
    const by = (/** @type {number[]} */ values) =>
      /** @type {[number, number][]} */ (values.map((value, i) => [i + 1, 100 - value]));
    const done = network?.run.epochs ?? [];
    const validation = done.map(({ oneView }) => accuracyOf(oneView));
    const last = done.at(-1);
    const training = done.map(({ trained }) => accuracyOf(trained));
    const accuracy = figureOf(
      chart({
        words: `Accuracy by epoch. ${ofAccuracies("Yours, validation", validation, last?.oneView)} ${ofAccuracies("yours, training", training)} ${ofAccuracies(name, recorded?.test ?? [])}`,
        x,
        y: errors(100),
        series: [
          { label: name && `${name}, test`, kind: "other", points: by(recorded?.test ?? []) },
          { label: "training", kind: "site", points: by(training) },
          { label: "validation", kind: "own", points: by(validation) },
        ],
        line: 100 - this.target,
      }),
      ["Accuracy in percent over the epochs. Yours: 55,000 images train, 5,000 validate, each judged " +
        "by one view.",
        last && `Validation after epoch ${done.length}: ${inPercent(last.oneView)}; ± is the standard error.`,
        recorded && `Stage ${recorded.number}: its record with seed ${recorded.seed}, trained on all ` +
          "60,000 and judged on the test images by one view.",
        `Dashed: ${this.target} %.`].filter(Boolean).join(" "),
    );
    return [loss, accuracy];
  }

  /** @param {Network | null} network */
  showEpochs(network) {
    const { epochs } = this.page;
    const done = network?.run.epochs ?? [];
    epochs.hidden = !done.length;
    if (epochs.childElementCount && this.shownEpochs === done && this.shownCount === done.length) return;
    [this.shownEpochs, this.shownCount] = [done, done.length];
    const rows = done.map(({ trained, oneView, nineViews }, i) => [
      `${i + 1}`, trained.loss.toFixed(4), accuracyOf(trained).toFixed(2), oneView.loss.toFixed(4),
      withError(oneView), nineViews ? withError(nineViews) : "–",
    ]);
    const headings = ["epoch", "training loss", "accuracy", "validation loss", "accuracy", "by nine views"];
    const caption = "Accuracies in percent, validation ± standard error; training figures are taken on the way, of moved images";
    epochs.replaceChildren(make("summary", {}, "Epoch by epoch"), table(caption, headings, rows));
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
    const counts = keeping.openings();
    const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const times = (/** @type {number} */ count) => (count === 1 ? "once" : `${count} times`);
    const opened = all
      ? ` You have opened the test set ${times(all)} in this browser${run && counts[run.design] ? `, ${times(counts[run.design])} for this design` : ""}. Each look makes it less of a test.`
      : "";
    const say = run?.test
      ? testInWords(run.test)
      : run?.finished
        ? "The test images judge a final network, once. While you still choose, the validation images do."
        : "";
    page.testText.textContent = say && `${say}${opened}`;
    if (now.phase === "testing") page.testText.textContent = "Judging.";
    page.testRow.hidden = page.test.hidden && !page.testText.textContent;
  }

  /** Own designs as dots beside the site's. */
  showFrontier() {
    const { page, records } = this;
    const runs = keeping.keptRuns();
    page.frontier.hidden = !records || !runs.length;
    if (!records || !runs.length) return;
    /** @type {Map<string, Run[]>} */
    const designs = new Map();
    for (const run of runs) designs.set(run.design, [...(designs.get(run.design) ?? []), run]);
    const site = records.frontier;
    const own = [...designs.values()].map((of) => ownPoint(of));
    const all = [...site.map(({ parameters }) => parameters), ...own.map(({ parameters }) => parameters)];
    /** @param {any} one @param {Way} way @returns {[number, number][]} */
    const at = (one, way) => (one[way] === null ? [] : [[one.parameters, 100 - one[way]]]);
    const ways = /** @type {Way[]} */ (["oneView", "nineViews"]);
    const series = ways.flatMap((way) => {
      const isNine = way === "nineViews";
      return [
        ...site.map((one) => ({ label: one.label.replace("stage ", ""), kind: "site", points: at(one, way), dots: true, open: isNine })),
        ...own.map((one) => ({ label: isNine ? "" : one.label, kind: "own", points: at(one, way), dots: true, open: isNine })),
      ];
    });
    const words = own.map((one) => one.words);
    const least = Math.min(...all), most = Math.max(...all);
    const marks = [500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000];
    page.frontier.replaceChildren(
      chart({
        words: `Parameters and accuracy of networks. ${words.join("; ")}.`,
        x: {
          from: least / 1.3, to: most * 1.3, log: true,
          marks: marks.filter((mark) => mark > least / 1.3 && mark < most * 1.3),
          text: (value) => value.toLocaleString("en"),
        },
        y: errors(1.2 * Math.max(...series.flatMap(({ points }) => points.map(([, error]) => error)))),
        series: /** @type {any} */ (series),
        right: 90,
        line: 100 - this.target,
      }),
      make(
        "figcaption", {},
        "Accuracy in percent over parameters. Dots: judged by one view of each image; rings: by nine. The site’s networks, numbered by " +
          "their stages, are means over seeds on the test images. Yours are means over your runs, on " +
          "the validation images until you have opened the test set for them.",
      ),
    );
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

const UNHEARD =
  "Nothing was heard of the computation for half a minute: it takes long steps, or the browser has put " +
  "it to sleep or ended it. Wait, or stop it: epochs that are done stay, and it goes on from there.";

/** The site's root: the Lab's scripts say where they lie. @param {HTMLElement} place */
function rootOf(place) {
  const script = place.ownerDocument.querySelector('script[src*="javascripts/lab/"]');
  const found = script instanceof HTMLScriptElement ? new URL("../../", script.src) : null;
  return found ?? new URL("./", document.baseURI);
}

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

/** Means over a design's runs, on the test where all were opened. @param {Run[]} runs */
function ownPoint(runs) {
  const isTest = runs.every(({ test }) => test);
  /** @param {Way} way */
  const mean = (way) => {
    return together(runs.map(({ test, epochs }) => {
      const judged = isTest ? test : /** @type {Run["epochs"][0]} */ (epochs.at(-1));
      return /** @type {Judgement} */ (judged?.[way]); // a last epoch has both
    }));
  };
  const label = isTest ? "yours" : "yours, validation";
  const { parameters } = runs[0];
  const [one, nine] = [mean("oneView"), mean("nineViews")];
  const words = `${label}: ${parameters} parameters, ${inPercent(one)} by one view, ${inPercent(nine)} by nine`;
  return { label, parameters, oneView: accuracyOf(one), nineViews: accuracyOf(nine), words };
}

/** An axis of accuracies, by the share that is read wrongly. @param {number} most in percent */
function errors(most) {
  const all = most > 4 ? [0.5, 1, 2, 5, 10, 20, 50, 90] : [0.5, 0.6, 0.8, 1, 1.5, 2, 3];
  const marks = all.filter((mark) => mark <= most);
  return { from: most, to: 0.4, log: true, marks, text: (/** @type {number} */ mark) => `${100 - mark}` };
}

/** @param {SVGElement} svg @param {string} caption */
function figureOf(svg, caption) {
  const figure = make("figure", { class: "lt-chart" });
  figure.append(svg);
  if (caption) figure.append(make("figcaption", {}, caption));
  return figure;
}

/** @param {string} name @param {[number, number][]} points */
function ofCurve(name, points) {
  if (!points.length) return "";
  const [first, last] = [points[0][1], /** @type {[number, number]} */ (points.at(-1))[1]];
  return `${name}: from ${first} to ${last}.`;
}

/** @param {string} name @param {number[]} values @param {Judgement} [last] of them, with its error */
function ofAccuracies(name, values, last) {
  if (!values.length) return "";
  const end = last ? inPercent(last) : `${values[values.length - 1].toFixed(2)} %`;
  return `${name}: from ${values[0].toFixed(2)} % to ${end}.`;
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${(seconds / 3600).toFixed(1)} hours`;
}

/** Run a task once an element is near the screen. @param {Element} element @param {() => void} task */
function whenSeen(element, task) {
  if (typeof IntersectionObserver === "undefined") {
    task();
    return;
  }
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      observer.disconnect();
      task();
    },
    { rootMargin: "200px" },
  );
  observer.observe(element);
}
