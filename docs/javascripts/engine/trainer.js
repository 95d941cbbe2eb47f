// @ts-check
/**
 * Trains a network in the browser, with the C code that trains it elsewhere.
 *
 *     const trainer = new Trainer(await compiled("engine.wasm"), network, images, labels);
 *     const { loss, correct } = trainer.step(chosen, maps, 0.1);
 *     const logProbabilities = trainer.evaluate(testImages);
 *
 * It computes without a pause, so it belongs into a worker; worker.js is one.
 */

import { describe, tensorsOf } from "./description.js";
import { Engine } from "./memory.js";

/** @typedef {import("./description.js").Layer} Layer */

const SIZE = 28;
const PIXELS = SIZE * SIZE;
const CLASSES = 10;
const BLOCK = 16; // images; batches for training are multiples
const EVALUATED = 8 * BLOCK; // at a time: few enough that a layer's output stays in the cache
const ONE_THREAD = 1;

/**
 * What is trained, and how.
 * @typedef {object} Network
 * @property {Layer[]} layers as model.json has them
 * @property {{mean: number, sd: number}} normalize of the training images; pixels are 0 to 1
 * @property {{mean: number, sd: number}} [normalizeTest] of the others, if that differs
 * @property {number} [momentum]
 * @property {boolean} [nesterov]
 * @property {number} [weightDecay]
 */

/** Compile engine.wasm from its address. @param {string | URL} address */
export async function compiled(address) {
  const answer = await fetch(address).catch(() => {
    throw new Error("the engine could not be fetched: is there a network?");
  });
  if (!answer.ok) throw new Error(`${address}: the engine is not there (${answer.status})`);
  try {
    return await WebAssembly.compile(await answer.arrayBuffer());
  } catch (error) {
    throw new Error(`this browser cannot run the engine, or the file is damaged (${error})`);
  }
}

export class Trainer {
  /**
   * @param {WebAssembly.Module} module as `compiled` gives it
   * @param {Network} network
   * @param {Uint8Array} images for training, 28 × 28 bytes each, 0 is paper and 255 is ink
   * @param {Uint8Array} labels one for each, 0 to 9
   */
  constructor(module, network, images, labels) {
    if (images.length !== labels.length * PIXELS) {
      throw new Error(`found ${images.length} bytes of images for ${labels.length} labels`);
    }
    if (labels.some((label) => label >= CLASSES)) throw new Error("found a label above 9");
    const engine = new Engine(module);
    this.engine = engine;
    this.network = network;
    this.count = labels.length;
    this.numbers = describe(network.layers);
    this.found = engine.allocate(3 * 4);
    this.measure(BLOCK, true); // before memory is taken for what it may refuse

    this.images = engine.allocate(images.length);
    engine.bytes(this.images, images.length).set(images);
    this.labels = engine.allocate(labels.length);
    engine.bytes(this.labels, labels.length).set(labels);

    // Address 0 is C's NULL.
    const moved = Boolean(network.momentum);
    this.tensors = tensorsOf(network.layers).map((tensor) => {
      const bytes = 4 * tensor.size;
      return {
        ...tensor,
        value: engine.allocate(bytes),
        gradient: tensor.trained ? engine.allocate(bytes) : 0,
        velocity: tensor.trained && moved ? engine.allocate(bytes) : 0,
      };
    });
    for (const { value, size, start } of this.tensors) engine.floats(value, size).fill(start);
    this.table = engine.allocate(4 * 3 * this.tensors.length);
    const addresses = this.tensors.flatMap(({ value, gradient, velocity, trained }) =>
      trained ? [value, gradient, velocity] : [value],
    );
    engine.ints(this.table, addresses.length).set(addresses);

    /** Networks laid out for batches, by their size. @type {Map<string, Batch>} */
    this.batches = new Map();
  }

  /**
   * One step of gradient descent.
   * @param {ArrayLike<number>} chosen which images, a multiple of 16
   * @param {Float32Array | null} maps a 2 × 3 map for each, from output to input, both from -1 to 1;
   *   null leaves images as they are
   * @param {number} learningRate
   * @param {number} [momentum] where it is not always the network's
   * @returns {{loss: number, correct: number}} the mean loss, and how many were recognized
   */
  step(chosen, maps, learningRate, momentum = this.network.momentum ?? 0) {
    const { engine, network } = this;
    if (!chosen.length || chosen.length % BLOCK) {
      throw new Error(`found a batch of ${chosen.length} images: a multiple of ${BLOCK} is needed`);
    }
    if (Array.from(chosen).some((i) => !(i >= 0 && i < this.count))) {
      throw new Error(`found an image that is none of the ${this.count}`);
    }
    if (maps && maps.length !== 6 * chosen.length) {
      throw new Error(`found ${maps.length} numbers of maps for ${chosen.length} images`);
    }
    const batch = this.batch(chosen.length, true);
    engine.ints(batch.chosen, chosen.length).set(chosen);
    if (maps) engine.floats(batch.maps, maps.length).set(maps);
    const { mean, sd } = network.normalize;
    const moved = maps ? batch.maps : 0;
    engine.call.prepare(batch.at, this.images, batch.chosen, moved, mean, sd, ONE_THREAD);
    engine.call.forward(batch.at, ONE_THREAD);
    const loss = engine.call.loss(batch.at, this.labels, batch.chosen, this.found);
    const correct = engine.ints(this.found, 1)[0];
    engine.call.backward(batch.at, ONE_THREAD);
    const decay = network.weightDecay ?? 0;
    engine.call.update(batch.at, learningRate, momentum, decay, network.nesterov ? 1 : 0);
    return { loss, correct };
  }

  /**
   * The logarithms of ten probabilities for each image.
   * @param {Uint8Array} images 28 × 28 bytes each
   */
  evaluate(images) {
    const { engine } = this;
    const count = images.length / PIXELS;
    const { mean, sd } = this.network.normalizeTest ?? this.network.normalize;
    const result = new Float32Array(count * CLASSES);
    const batch = this.batch(EVALUATED, false);
    for (let first = 0; first < count; first += EVALUATED) {
      const part = images.subarray(first * PIXELS, (first + EVALUATED) * PIXELS);
      engine.bytes(batch.images, part.length).set(part); // the rest of the last part is not read
      engine.call.prepare(batch.at, batch.images, batch.chosen, 0, mean, sd, ONE_THREAD);
      engine.call.forward(batch.at, ONE_THREAD);
      engine.call.result(batch.at, batch.scores);
      const numbers = (part.length / PIXELS) * CLASSES;
      result.set(engine.floats(batch.scores, numbers), first * CLASSES);
    }
    for (let i = 0; i < result.length; i += CLASSES) logSoftmax(result.subarray(i, i + CLASSES));
    return result;
  }

  /** All weights and running statistics by name, copied. @returns {Record<string, Float32Array>} */
  weights() {
    return this.copies("value");
  }

  /** Take other weights; those that are not named stay. @param {Record<string, Float32Array>} all */
  load(all) {
    this.take("value", all);
  }

  /** What momentum keeps from step to step, by name, copied. @returns {Record<string, Float32Array>} */
  velocities() {
    return this.copies("velocity");
  }

  /** Go on with other velocities. @param {Record<string, Float32Array>} all */
  loadVelocities(all) {
    this.take("velocity", all);
  }

  /** The gradients of the last step by name, copied. @returns {Record<string, Float32Array>} */
  gradients() {
    return this.copies("gradient");
  }

  /** @typedef {"value" | "gradient" | "velocity"} Part of a tensor; not each one has all */

  /** @param {Part} part @returns {Record<string, Float32Array>} */
  copies(part) {
    const having = this.tensors.filter((tensor) => tensor[part]);
    const copied = having.map((one) => [one.name, this.engine.floats(one[part], one.size).slice()]);
    return Object.fromEntries(copied);
  }

  /** @param {Part} part @param {Record<string, Float32Array>} all */
  take(part, all) {
    for (const [name, numbers] of Object.entries(all)) {
      const tensor = this.tensors.find((one) => one.name === name && one[part]);
      if (tensor?.size !== numbers.length) {
        const expected = tensor ? `${tensor.size} numbers` : "no such weights";
        throw new Error(`${name}: found ${numbers.length} numbers, the network has ${expected}`);
      }
      this.engine.floats(tensor[part], tensor.size).set(numbers);
    }
  }

  /**
   * The network for so many images, with places for what a batch is made of.
   *
   * @typedef {{at: number, chosen: number, maps: number, images: number, scores: number}} Batch
   *
   * @param {number} count @param {boolean} training
   * @returns {Batch}
   */
  batch(count, training) {
    const key = `${count} ${training}`;
    const made = this.batches.get(key);
    if (made) return made;
    const { engine } = this;
    const at = engine.allocate(this.measure(count, training));
    const numbers = this.listed(count, training);
    const list = engine.doubles(numbers);
    engine.call.lay_out(list, numbers.length, this.table, at, this.found);
    const batch = {
      at,
      chosen: engine.allocate(4 * count),
      maps: engine.allocate(training ? 4 * 6 * count : 0),
      images: engine.allocate(training ? 0 : PIXELS * count),
      scores: engine.allocate(training ? 0 : 4 * CLASSES * count),
    };
    for (let i = 0; i < count; i++) engine.ints(batch.chosen, count)[i] = i;
    this.batches.set(key, batch);
    return batch;
  }

  /** @param {number} count @param {boolean} training */
  listed(count, training) {
    return [count, 1, SIZE, SIZE, training ? 1 : 0, ...this.numbers];
  }

  /**
   * How many bytes the network takes. Throws an error that names the layer that does not fit.
   * @param {number} count @param {boolean} training
   */
  measure(count, training) {
    const { engine } = this;
    const numbers = this.listed(count, training);
    const list = engine.doubles(numbers);
    const bytes = engine.call.lay_out(list, numbers.length, 0, 0, this.found);
    const [first, height, width] = engine.ints(this.found, 3);
    if (bytes < 0) {
      const name = this.network.layers[first]?.name ?? "the network";
      throw new Error(`${name}: ${engine.text(engine.call.problem(bytes))}`);
    }
    if (first !== CLASSES || height !== 1 || width !== 1) {
      throw new Error(`the network ends with ${first} × ${height} × ${width} numbers, not with ten`);
    }
    return bytes;
  }
}

/** In place. @param {Float32Array} scores */
function logSoftmax(scores) {
  const most = Math.max(...scores);
  const log = most + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - most), 0));
  scores.forEach((score, i) => (scores[i] = score - log));
}
