// @ts-check
/**
 * The layers of a network, one short function each.
 *
 * A feature map is a grid of numbers; a layer takes a stack of maps and gives a stack of maps.
 * Nothing here knows the network: what happens in which order, network.js reads from a file.
 */

/**
 * Numbers in a flat list, and how to read them: a stack of maps has the shape
 * [channels, height, width], a vector has [length]. The last axis varies fastest.
 * @typedef {{data: Float32Array, shape: number[]}} Tensor
 *
 * What moves a window over a map, as [vertical, horizontal].
 * @typedef {{kernel_size: number[], stride: number[], padding: number[],
 *            dilation?: number[], ceil_mode?: boolean, count_include_pad?: boolean}} Window
 */

/**
 * How many places a window has along one axis (0 is vertical, 1 horizontal).
 * @param {number} size @param {Window} window @param {number} axis
 */
export function places(size, window, axis) {
  const dilation = window.dilation?.[axis] ?? 1;
  const reach = dilation * (window.kernel_size[axis] - 1) + 1;
  const free = size + 2 * window.padding[axis] - reach;
  return Math.floor(free / window.stride[axis]) + 1;
}

/**
 * Convolution: every output map is a weighted sum of shifted copies of the input maps, one copy
 * for each weight of the kernel. Here we take weight by weight, and for each we add its copy.
 * @param {Tensor} input [channels, height, width]
 * @param {Tensor} weight [output channels, channels, kernel height, kernel width]
 * @param {Tensor | null} bias [output channels]
 * @param {Window} window
 * @returns {Tensor}
 */
export function conv2d(input, weight, bias, window) {
  const [channels, height, width] = input.shape;
  const [outputs, , kernelHeight, kernelWidth] = weight.shape;
  const [strideY, strideX] = window.stride;
  const [paddingY, paddingX] = window.padding;
  const [dilationY, dilationX] = window.dilation ?? [1, 1];
  const outHeight = places(height, window, 0);
  const outWidth = places(width, window, 1);
  const out = new Float32Array(outputs * outHeight * outWidth);
  const numbers = input.data;
  let next = 0; // position in the list of weights, which are stored in the order of these loops
  for (let output = 0; output < outputs; output++) {
    const map = out.subarray(output * outHeight * outWidth, (output + 1) * outHeight * outWidth);
    if (bias) map.fill(bias.data[output]);
    for (let channel = 0; channel < channels; channel++) {
      for (let kernelY = 0; kernelY < kernelHeight; kernelY++) {
        for (let kernelX = 0; kernelX < kernelWidth; kernelX++) {
          const w = weight.data[next++];
          const shiftX = kernelX * dilationX - paddingX;
          // Columns whose copy falls on the input; on the padding it would add zeros.
          const from = Math.max(0, Math.ceil(-shiftX / strideX));
          const until = Math.min(outWidth, Math.ceil((width - shiftX) / strideX));
          for (let y = 0; y < outHeight; y++) {
            const inputY = y * strideY + kernelY * dilationY - paddingY;
            if (inputY < 0 || inputY >= height) continue;
            const row = (channel * height + inputY) * width + shiftX;
            const outRow = y * outWidth;
            for (let x = from; x < until; x++) {
              map[outRow + x] += w * numbers[row + x * strideX];
            }
          }
        }
      }
    }
  }
  return { data: out, shape: [outputs, outHeight, outWidth] };
}

/**
 * Batch normalization as it works after training: each map is shifted and scaled by four numbers
 * of its own. Two of them were measured while training, two were learned.
 * @param {Tensor} input
 * @param {{running_mean: Tensor, running_var: Tensor, weight: Tensor, bias: Tensor}} weights
 * @param {number} eps keeps the division safe where a map hardly varies
 * @returns {Tensor}
 */
export function batchNorm(input, weights, eps) {
  const size = input.data.length / input.shape[0];
  const out = new Float32Array(input.data.length);
  for (let channel = 0; channel < input.shape[0]; channel++) {
    const mean = weights.running_mean.data[channel];
    const scale = weights.weight.data[channel] / Math.sqrt(weights.running_var.data[channel] + eps);
    const shift = weights.bias.data[channel];
    for (let i = channel * size; i < (channel + 1) * size; i++) {
      out[i] = (input.data[i] - mean) * scale + shift;
    }
  }
  return { data: out, shape: input.shape };
}

/**
 * Negative values become 0. Without something bent like this between them, two convolutions
 * would do no more than one.
 * @param {Tensor} input @returns {Tensor}
 */
export function relu(input) {
  return { data: input.data.map((value) => Math.max(0, value)), shape: input.shape };
}

/**
 * The largest value under each window: whether something was found matters, less so where.
 * @param {Tensor} input @param {Window} window @returns {Tensor}
 */
export function maxPool(input, window) {
  return pool(input, window, (values) => values.reduce((a, b) => Math.max(a, b)));
}

/**
 * The average under each window; what padding adds counts as zeros.
 * @param {Tensor} input @param {Window} window @returns {Tensor}
 */
export function avgPool(input, window) {
  if (window.count_include_pad === false) throw new Error("padding must count here");
  const count = window.kernel_size[0] * window.kernel_size[1];
  return pool(input, window, (values) => values.reduce((a, b) => a + b) / count);
}

/**
 * Average pooling that is told the size of its output and divides the input evenly for it.
 * With the output size 1 × 1 it is global: each map becomes its mean.
 * @param {Tensor} input @param {number[]} size [height, width] @returns {Tensor}
 */
export function adaptiveAvgPool(input, size) {
  const [channels, height, width] = input.shape;
  const [outHeight, outWidth] = size;
  const out = new Float32Array(channels * outHeight * outWidth);
  let next = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < outHeight; y++) {
      for (let x = 0; x < outWidth; x++) {
        const [top, bottom] = share(y, outHeight, height);
        const [left, right] = share(x, outWidth, width);
        let sum = 0;
        for (let row = top; row < bottom; row++) {
          for (let column = left; column < right; column++) {
            sum += input.data[(channel * height + row) * width + column];
          }
        }
        out[next++] = sum / ((bottom - top) * (right - left));
      }
    }
  }
  return { data: out, shape: [channels, outHeight, outWidth] };
}

/**
 * The part of `size` inputs that goes to one of `parts` outputs, as [first, one after the last].
 * @param {number} index @param {number} parts @param {number} size
 */
export function share(index, parts, size) {
  return [Math.floor((index * size) / parts), Math.ceil(((index + 1) * size) / parts)];
}

/**
 * The same numbers as one vector.
 * @param {Tensor} input @returns {Tensor}
 */
export function flatten(input) {
  return { data: input.data, shape: [input.data.length] };
}

/**
 * Scores become logarithms of probabilities: exp() of them is positive and sums to 1.
 * @param {Tensor} input a vector @returns {Tensor}
 */
export function logSoftmax(input) {
  const largest = input.data.reduce((a, b) => Math.max(a, b)); // taken out: exp() stays finite
  let sum = 0;
  for (const value of input.data) sum += Math.exp(value - largest);
  const logOfSum = largest + Math.log(sum);
  return { data: input.data.map((value) => value - logOfSum), shape: input.shape };
}

/**
 * Slide a window over each map and let `reduce` make one number of what is under it.
 * @param {Tensor} input @param {Window} window @param {(values: number[]) => number} reduce
 * @returns {Tensor}
 */
function pool(input, window, reduce) {
  if (window.ceil_mode) throw new Error("pooling with ceil_mode is not known here");
  const [channels, height, width] = input.shape;
  const [dilationY, dilationX] = window.dilation ?? [1, 1];
  const outHeight = places(height, window, 0);
  const outWidth = places(width, window, 1);
  const out = new Float32Array(channels * outHeight * outWidth);
  /** @type {number[]} */
  const values = [];
  let next = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < outHeight; y++) {
      for (let x = 0; x < outWidth; x++) {
        values.length = 0;
        for (let kernelY = 0; kernelY < window.kernel_size[0]; kernelY++) {
          for (let kernelX = 0; kernelX < window.kernel_size[1]; kernelX++) {
            const row = y * window.stride[0] + kernelY * dilationY - window.padding[0];
            const column = x * window.stride[1] + kernelX * dilationX - window.padding[1];
            if (row < 0 || row >= height || column < 0 || column >= width) continue;
            values.push(input.data[(channel * height + row) * width + column]);
          }
        }
        out[next++] = reduce(values);
      }
    }
  }
  return { data: out, shape: [channels, outHeight, outWidth] };
}
