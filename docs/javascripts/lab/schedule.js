// @ts-check
/**
 * The learning rate and the momentum of each step.
 *
 * One cycle is what torch.optim.lr_scheduler.OneCycleLR does by default: the rate rises over the
 * first three tenths of the steps and falls over the others, along half a cosine each time, and the
 * momentum goes the other way. The recipe's own rate and momentum then do not count.
 *
 * @typedef {object} Rates
 * @property {"constant" | "one-cycle"} schedule
 * @property {number} learningRate
 * @property {number} momentum
 * @property {number} peak the largest rate of one cycle
 */

import { oneCycle } from "../figures/one_cycle.js";

const CYCLE = { share: 0.3, division: 25, finalDivision: 1e4, low: 0.85, high: 0.95 };

/**
 * @param {Rates} rates @param {number} step from 0 @param {number} steps of the whole training
 * @returns {{learningRate: number, momentum: number}}
 */
export function ratesAt({ schedule, learningRate, momentum, peak }, step, steps) {
  if (schedule !== "one-cycle") return { learningRate, momentum };
  const moved = oneCycle({ ...CYCLE, total: steps, peak }, step);
  return { learningRate: moved.rate, momentum: moved.momentum };
}

/** Whether weights keep a velocity, at one step at least. @param {Rates} rates */
export const hasMomentum = ({ schedule, momentum }) => schedule === "one-cycle" || momentum > 0;
