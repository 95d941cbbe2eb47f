// @ts-check
/**
 * An image under an affine map, as the network gets it; the engine does the same for batches.
 */

import { SIDE } from "./design.js";

/**
 * Each pixel looks where the map says, and takes the weighted mean of the four pixels around that
 * place. What lies outside is paper.
 * @param {ArrayLike<number>} pixels 28 × 28 values @param {ArrayLike<number>} map two rows of three,
 *   from output to input, both from -1 to 1 at the image's edges
 * @returns {Float32Array}
 */
export function moved(pixels, map) {
  const result = new Float32Array(SIDE * SIDE);
  /** @param {number} row @param {number} column */
  const at = (row, column) =>
    row < 0 || row >= SIDE || column < 0 || column >= SIDE ? 0 : pixels[row * SIDE + column];
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      // A pixel's middle, from -1 to 1, and the place that it looks at, again in pixels.
      const x = (2 * column + 1) / SIDE - 1, y = (2 * row + 1) / SIDE - 1;
      const across = ((map[0] * x + map[1] * y + map[2] + 1) * SIDE - 1) / 2;
      const down = ((map[3] * x + map[4] * y + map[5] + 1) * SIDE - 1) / 2;
      const left = Math.floor(across), top = Math.floor(down);
      const right = across - left, below = down - top; // how far beyond
      result[row * SIDE + column] =
        (1 - below) * ((1 - right) * at(top, left) + right * at(top, left + 1)) +
        below * ((1 - right) * at(top + 1, left) + right * at(top + 1, left + 1));
    }
  }
  return result;
}
