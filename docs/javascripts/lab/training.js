// @ts-check
/**
 * A training under way: all that the next step depends on, so that it can stop after any epoch and
 * go on to the same result.
 *
 * An epoch draws its order and its maps from a generator that the seed and the epoch's number
 * decide. So nothing random has to be kept: the weights, what momentum keeps, and the number of
 * epochs that are done say all.
 */

import { Trainer } from "../engine/trainer.js";
import { drawMaps } from "./augmentation.js";
import { initialWeights } from "./initialization.js";
import { PIXELS } from "./pixels.js";
import { Random } from "./random.js";
import { hasMomentum, ratesAt } from "./schedule.js";

/** @typedef {import("../engine/description.js").Layer} Layer */

/**
 * @typedef {import("./schedule.js").Rates & import("./augmentation.js").Moves &
 *   {epochs: number, batchSize: number, weightDecay: number}} Recipe
 *
 * @typedef {{layers: Layer[], recipe: Recipe, seed: number}} Plan
 *
 * @typedef {{epochs: number, weights: Record<string, Float32Array>,
 *   velocities: Record<string, Float32Array>}} State  `epochs`: how many are done
 *
 * Of one step, or of an epoch: the mean loss, how many of how many images were recognized.
 * @typedef {{loss: number, right: number, images: number}} Trained
 */

const TOGETHER = 16; // images that the engine takes at a time
const WEIGHTS = 0, ORDER = 1; // what random numbers are for

/** The momentum that tells the engine to keep velocities; each step says its own. */
const SOME = 0.9;

export class Training {
  /**
   * @param {WebAssembly.Module} module the engine
   * @param {Plan} plan
   * @param {Uint8Array} images for training @param {Uint8Array} labels
   * @param {State | null} state to go on from
   */
  constructor(module, plan, images, labels, state = null) {
    this.plan = plan;
    const { layers, recipe, seed } = plan;
    const momentum = hasMomentum(recipe) ? SOME : 0;
    const network = { layers, normalize: PIXELS, momentum, weightDecay: recipe.weightDecay };
    this.trainer = new Trainer(module, network, images, labels);
    const random = new Random(seed, WEIGHTS);
    this.trainer.load(state?.weights ?? initialWeights(layers, () => random.next()));
    if (state) this.trainer.loadVelocities(state.velocities);
    this.epochs = state?.epochs ?? 0; // that are done
    // The engine takes 16 images at a time. What is left over, fewer than 16 images, misses the
    // epoch; which ones these are, its order decides.
    this.images = labels.length - (labels.length % TOGETHER);
    this.stepsPerEpoch = Math.ceil(this.images / recipe.batchSize);
    /** @type {{random: Random, order: Int32Array, step: number, sum: Trained} | null} */
    this.epoch = null; // the one under way
  }

  get steps() {
    return this.stepsPerEpoch * this.plan.recipe.epochs;
  }

  get finished() {
    return this.epochs >= this.plan.recipe.epochs;
  }

  /**
   * One step. After an epoch's last one `trained` has its figures; otherwise it is null.
   * @returns {Trained & {trained: Trained | null}}
   */
  step() {
    const { recipe, seed } = this.plan;
    if (!this.epoch) {
      const random = new Random(seed, ORDER, this.epochs);
      const order = random.order(this.trainer.count).subarray(0, this.images);
      this.epoch = { random, order, step: 0, sum: { loss: 0, right: 0, images: 0 } };
    }
    const { random, order, step, sum } = this.epoch;
    const chosen = order.subarray(step * recipe.batchSize, (step + 1) * recipe.batchSize);
    const maps = drawMaps(recipe, chosen.length, () => random.next());
    const { learningRate, momentum } = ratesAt(
      recipe,
      this.epochs * this.stepsPerEpoch + step,
      this.steps,
    );
    const { loss, correct } = this.trainer.step(chosen, maps, learningRate, momentum);
    sum.loss += loss * chosen.length;
    sum.right += correct;
    sum.images += chosen.length;
    this.epoch.step += 1;
    let trained = null;
    if (this.epoch.step === this.stepsPerEpoch) {
      trained = { ...sum, loss: sum.loss / sum.images };
      this.epochs += 1;
      this.epoch = null;
    }
    return { loss, right: correct, images: chosen.length, trained };
  }

  /** Between two epochs: what to go on from. @returns {State} */
  state() {
    const { trainer, epochs } = this;
    return { epochs, weights: trainer.weights(), velocities: trainer.velocities() };
  }
}
