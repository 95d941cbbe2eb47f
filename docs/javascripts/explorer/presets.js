// @ts-check
/**
 * Networks to begin with: what the stages' networks do to a field. Batch normalization and ReLU
 * are left out, for they look at their own place only. Stage 8 ends with a mean over each map,
 * which is here what it is there: an average pooling of 4 on maps of 4 × 4 units.
 */

/** @typedef {{kind: string, kernel: number, stride: number, padding: number, dilation: number}} Choice */

/** @param {number} kernel @returns {Choice} */
const conv = (kernel, padding = 0) => ({ kind: "Conv2d", kernel, stride: 1, padding, dilation: 1 });
/** @returns {Choice} */
const maxPool = () => ({ kind: "MaxPool2d", kernel: 2, stride: 2, padding: 0, dilation: 1 });
/** @param {number} kernel @returns {Choice} */
const mean = (kernel) => ({ kind: "AvgPool2d", kernel, stride: kernel, padding: 0, dilation: 1 });

/** @type {Record<number, Choice[]>} by stage */
export const presets = {
  1: [conv(3, 1), conv(3, 1), maxPool(), conv(3, 1), conv(3, 1), maxPool(), conv(3), conv(3), conv(3)],
  3: [conv(3), conv(3), conv(3), conv(3), maxPool(), conv(3), conv(3), conv(3), conv(3), conv(2)],
  8: [conv(3), conv(3), conv(3), conv(3), conv(1), maxPool(), conv(3), conv(3), conv(3), mean(4), conv(1)],
};
