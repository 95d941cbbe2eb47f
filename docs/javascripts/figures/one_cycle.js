// @ts-check
/**
 * The one-cycle schedule, as torch.optim.lr_scheduler.OneCycleLR computes it: learning rate and
 * momentum move against each other, along halves of a cosine.
 */

/**
 * share: of the steps before the peak; division: peak by the first rate; finalDivision: first rate
 * by the last; low, high: of the momentum
 * @typedef {{total: number, peak: number, share: number, division: number,
 *            finalDivision: number, low: number, high: number}} Cycle
 */

/**
 * Learning rate and momentum of a step, counted from 0.
 * @param {Cycle} cycle @param {number} step
 */
export function oneCycle({ total, peak, share, division, finalDivision, low, high }, step) {
  const first = peak / division;
  const last = first / finalDivision;
  const turn = turningPoint({ total, share });
  if (step <= turn) {
    const part = step / turn;
    return { rate: between(first, peak, part), momentum: between(high, low, part) };
  }
  const part = (step - turn) / (total - 1 - turn);
  return { rate: between(peak, last, part), momentum: between(low, high, part) };
}

/**
 * The step with the largest rate, not always a whole one.
 * @param {{total: number, share: number}} cycle
 */
export function turningPoint({ total, share }) {
  return share * total - 1;
}

/**
 * Along half a cosine from one value to the other.
 * @param {number} from @param {number} to @param {number} part
 */
function between(from, to, part) {
  return to + ((from - to) / 2) * (1 + Math.cos(Math.PI * part));
}

/** The mean of the rate over all steps. @param {Cycle} cycle */
export function meanRate(cycle) {
  let sum = 0;
  for (let step = 0; step < cycle.total; step++) sum += oneCycle(cycle, step).rate;
  return sum / cycle.total;
}
