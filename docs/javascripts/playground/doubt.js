// @ts-check
/**
 * What speaks against an answer that sounds sure. A network spreads 100 % over ten digits, whatever
 * it is shown: 'none of them' is no answer of its. So what was drawn is compared with the digits that
 * it learnt from, and the answer with what it says when the drawing moves by a pixel.
 */

import { inkBox } from "./center.js";

/** @typedef {import("./center.js").Ink} Ink */

/**
 * Measured on the training digits when the site was built. means: for each digit the mean image;
 * leastLikeness: all but one in a hundred are at least as much like one of the means
 * mostInk: all but one in a hundred have at most so many full pixels; leastInk as many at least
 * @typedef {{means: Float32Array[], leastLikeness: number, leastInk: number, mostInk: number}} Usual
 */

const SIZE = 28;
// Of strokes after scaling; MNIST's are 2 to 3 pixels wide.
const [BOX, WIDE] = [20, 4];

/**
 * How much an image is like the mean of a digit, at best: 1 is the same up to a factor, 0 is nothing
 * in common. @param {Float32Array} pixels @param {Float32Array[]} means
 */
export function likeness(pixels, means) {
  const length = (/** @type {Float32Array} */ one) => Math.sqrt(one.reduce((sum, ink) => sum + ink * ink, 0));
  const own = length(pixels);
  return Math.max(
    ...means.map((mean) => pixels.reduce((sum, ink, i) => sum + ink * mean[i], 0) / (own * length(mean) || 1)),
  );
}

/** How many pixels the ink would fill. @param {Float32Array} pixels */
export function inkOf(pixels) {
  return pixels.reduce((sum, ink) => sum + ink, 0);
}

/** The image moved by whole pixels. @param {Float32Array} pixels @param {number} right @param {number} down */
export function moved(pixels, right, down) {
  return pixels.map((_, i) => {
    const [row, column] = [Math.floor(i / SIZE) - down, (i % SIZE) - right];
    const inside = row >= 0 && row < SIZE && column >= 0 && column < SIZE;
    return inside ? pixels[row * SIZE + column] : 0;
  });
}

/**
 * What speaks against the answer, in words; nothing when nothing does.
 * @param {Float32Array} pixels that the network got
 * @param {(pixels: Float32Array) => number} read the digit that the network reads in an image
 * @param {Usual} usual
 * @returns {string[]}
 */
export function doubts(pixels, read, { means, leastLikeness, leastInk, mostInk }) {
  const found = [];
  const ink = inkOf(pixels);
  if (ink > mostInk) found.push("it has more ink than 99 of 100 training digits");
  if (ink < leastInk) found.push("it has less ink than 99 of 100 training digits");
  if (likeness(pixels, means) < leastLikeness) {
    found.push("it is less like any digit's mean image than 99 of 100 training digits");
  }
  const answer = read(pixels);
  const others = new Set();
  for (const down of [-1, 0, 1]) {
    for (const right of [-1, 0, 1]) others.add(read(moved(pixels, right, down)));
  }
  others.delete(answer);
  if (others.size) found.push(`moved by a pixel, it reads as ${[...others].join(" or ")}`);
  return found;
}

/**
 * A hint for a drawing whose strokes become too wide when it is scaled to MNIST's size; else "".
 * @param {Ink} drawing @param {number} pen width of the pen, as a part of the area's side
 */
export function tooSmall(drawing, pen) {
  const box = inkBox(drawing);
  if (!box) return "";
  const part = Math.max(box.width, box.height) / drawing.height;
  const wide = (pen / part) * BOX;
  if (wide <= WIDE || part < pen * 1.5) return ""; // a dot is no digit yet
  return (
    `Drawn larger, it is read better: this fills ${Math.round(100 * part)} % of the pad, so scaled to ` +
    `${BOX} pixels its strokes are ${wide.toFixed(0)} wide, and MNIST's are 2 to 3.`
  );
}
