// @ts-check
/**
 * The affine map of the lesson: which matrix a movement is, and a digit under it. It is what
 * augment.batch_affine computes, in the same frame: the image's corners lie at ±1, x goes to the
 * right and y down.
 */

/** @typedef {[[number, number, number], [number, number, number]]} Matrix output to input */

export const SIDE = 28;

/**
 * Turn clockwise, enlarge, then shift.
 * @param {{degrees: number, scale: number, right: number, down: number}} movement shifts in pixels
 * @returns {Matrix}
 */
export function matrixOf({ degrees, scale, right, down }) {
  const turn = (degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(turn) / scale, Math.sin(turn) / scale];
  const [x, y] = [(2 * right) / SIDE, (2 * down) / SIDE];
  return [
    [cos, sin, -cos * x - sin * y],
    [-sin, cos, sin * x - cos * y],
  ];
}

/**
 * Where in the input a point of the output looks.
 * @param {Matrix} matrix @param {number} x @param {number} y
 */
export function looksAt([[a, b, c], [d, e, f]], x, y) {
  return [a * x + b * y + c, d * x + e * y + f];
}

/**
 * Each pixel of the output from the four pixels of the input around the place where it looks.
 * @param {ArrayLike<number>} pixels 28 × 28 @param {Matrix} matrix
 * @returns {Float32Array}
 */
export function resample(pixels, matrix) {
  const out = new Float32Array(SIDE * SIDE);
  /** @param {number} row @param {number} column */
  const ink = (row, column) =>
    row < 0 || row >= SIDE || column < 0 || column >= SIDE ? 0 : pixels[row * SIDE + column];
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      const [x, y] = looksAt(matrix, (2 * column + 1) / SIDE - 1, (2 * row + 1) / SIDE - 1);
      const [across, along] = [((x + 1) * SIDE - 1) / 2, ((y + 1) * SIDE - 1) / 2];
      const [left, top] = [Math.floor(across), Math.floor(along)];
      const [toRight, toBottom] = [across - left, along - top];
      out[row * SIDE + column] =
        (1 - toBottom) * ((1 - toRight) * ink(top, left) + toRight * ink(top, left + 1)) +
        toBottom * ((1 - toRight) * ink(top + 1, left) + toRight * ink(top + 1, left + 1));
    }
  }
  return out;
}
