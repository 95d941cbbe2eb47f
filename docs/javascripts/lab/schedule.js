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

const RISING = 0.3; // of the steps
const FIRST = 25; // the first rate is the peak divided by this
const LAST = 1e4; // the last rate is the first divided by this
const LEAST_MOMENTUM = 0.85, MOST_MOMENTUM = 0.95;

/**
 * From one value to another along half a cosine.
 * @param {number} from @param {number} to @param {number} part
 */
const between = (from, to, part) => to + ((from - to) / 2) * (1 + Math.cos(Math.PI * part));

/**
 * @param {Rates} rates @param {number} step from 0 @param {number} steps of the whole training
 * @returns {{learningRate: number, momentum: number}}
 */
export function ratesAt({ schedule, learningRate, momentum, peak }, step, steps) {
  if (schedule !== "one-cycle") return { learningRate, momentum };
  const top = RISING * steps - 1, end = steps - 1, first = peak / FIRST;
  if (step <= top) {
    const part = step / top;
    return {
      learningRate: between(first, peak, part),
      momentum: between(MOST_MOMENTUM, LEAST_MOMENTUM, part),
    };
  }
  const part = (step - top) / (end - top);
  return {
    learningRate: between(peak, first / LAST, part),
    momentum: between(LEAST_MOMENTUM, MOST_MOMENTUM, part),
  };
}

/** Whether weights keep a velocity, at one step at least. @param {Rates} rates */
export const hasMomentum = ({ schedule, momentum }) => schedule === "one-cycle" || momentum > 0;
