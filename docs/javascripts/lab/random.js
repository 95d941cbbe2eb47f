// @ts-check
/**
 * Random numbers that a seed decides: the same seed gives the same training in every browser.
 *
 * The generator is xoshiro128** (Blackman and Vigna, Scrambled linear pseudorandom number
 * generators, 2021). Its numbers are not those of PyTorch.
 */

/** @param {number} word @param {number} by */
const turned = (word, by) => (word << by) | (word >>> (32 - by));

export class Random {
  /** @param {number[]} seeds whole numbers; each other list of them gives other numbers */
  constructor(...seeds) {
    let mixed = 0x9e3779b9;
    /** Spreads what differs in one bit over all of them. @param {number} given */
    const mix = (given) => {
      mixed = (mixed + given + 0x6d2b79f5) | 0;
      mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
      mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
      return (mixed ^= mixed >>> 16);
    };
    for (const seed of seeds) mix(seed);
    this.words = Int32Array.of(mix(1), mix(2), mix(3), mix(4));
  }

  /** Uniform, from 0 to below 1. */
  next() {
    const s = this.words;
    const result = Math.imul(turned(Math.imul(s[1], 5), 7), 9);
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = turned(s[3], 11);
    return (result >>> 8) / 2 ** 24;
  }

  /** The numbers from 0 to below `count`, each once. @param {number} count */
  order(count) {
    const order = Int32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const other = Math.floor(this.next() * (i + 1));
      [order[i], order[other]] = [order[other], order[i]];
    }
    return order;
  }
}
