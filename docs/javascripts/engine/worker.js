// @ts-check
/**
 * A Trainer in a worker of its own, so that the page stays awake.
 *
 *     const worker = new Worker("javascripts/engine/worker.js", { type: "module" });
 *     worker.postMessage({ id: 0, method: "create", given: [network, images, labels] });
 *     worker.postMessage({ id: 1, method: "step", given: [chosen, maps, 0.1] });
 *     worker.onmessage = ({ data }) => …;  // { id, result } or { id, problem }, in order
 *
 * `method` is "create", a method of Trainer, or "memory": how many bytes it takes.
 */

import { Trainer, compiled } from "./trainer.js";

/** @type {Trainer} */
let trainer;
const ready = compiled(new URL("engine.wasm", import.meta.url));
ready.catch(() => {}); // told to whoever asks

/** @type {Record<string, (...given: any[]) => any>} */
const METHODS = {
  create: async (network, images, labels) => {
    trainer = new Trainer(await ready, network, images, labels);
  },
  step: (...given) => trainer.step(...given),
  evaluate: (images) => trainer.evaluate(images),
  weights: () => trainer.weights(),
  load: (weights) => trainer.load(weights),
  gradients: () => trainer.gradients(),
  memory: () => trainer.engine.memory.buffer.byteLength,
};

let before = Promise.resolve();
addEventListener("message", ({ data: { id, method, given } }) => {
  before = before.then(async () => {
    try {
      postMessage({ id, result: await METHODS[method](...given) });
    } catch (error) {
      postMessage({ id, problem: error instanceof Error ? error.message : String(error) });
    }
  });
});
