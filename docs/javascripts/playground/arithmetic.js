// @ts-check
/**
 * One unit's arithmetic: which numbers its layer takes, what it does with each, and what comes out.
 */

/** @typedef {import("./layers.js").Tensor} Tensor */
/** @typedef {import("./layers.js").Window} Window */

/**
 * What a window sees of one map, row by row; null where it lies on the padding.
 * @param {Tensor} input @param {number} map @param {number} row of the window's unit
 * @param {number} column @param {Window} window
 * @returns {(number | null)[]}
 */
export function patchOf(input, map, row, column, window) {
  const [, height, width] = input.shape;
  const [dilationY, dilationX] = window.dilation ?? [1, 1];
  const top = row * window.stride[0] - window.padding[0];
  const left = column * window.stride[1] - window.padding[1];
  const found = [];
  for (let kernelY = 0; kernelY < window.kernel_size[0]; kernelY++) {
    for (let kernelX = 0; kernelX < window.kernel_size[1]; kernelX++) {
      const [y, x] = [top + kernelY * dilationY, left + kernelX * dilationX];
      const inside = y >= 0 && y < height && x >= 0 && x < width;
      found.push(inside ? input.data[(map * height + y) * width + x] : null);
    }
  }
  return found;
}

/**
 * A convolution's unit: for each map that it takes, the patch, the kernel, and their sum.
 * @param {Tensor} input @param {{weight: Tensor, bias?: Tensor}} weights @param {Window} window
 * @param {{map: number, row: number, column: number}} unit
 */
export function convolved(input, weights, window, { map, row, column }) {
  const cells = window.kernel_size[0] * window.kernel_size[1];
  const bias = weights.bias?.data[map] ?? null;
  const parts = Array.from({ length: input.shape[0] }, (_, channel) => {
    const patch = patchOf(input, channel, row, column, window);
    const first = (map * input.shape[0] + channel) * cells;
    const kernel = Array.from(weights.weight.data.subarray(first, first + cells));
    const sum = patch.reduce((total, value, i) => total + (value ?? 0) * kernel[i], 0);
    return { patch, kernel, sum: Number(sum) };
  });
  const total = parts.reduce((sum, part) => sum + part.sum, bias ?? 0);
  return { parts, bias, total };
}
