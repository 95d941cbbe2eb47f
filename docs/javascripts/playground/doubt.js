// @ts-check
/**
 * What speaks against an answer that sounds sure. A network spreads 100 % over ten digits, whatever
 * it is shown: 'none of them' is no answer of its. Probabilities hang on differences of the ten
 * scores only. How large the scores are is lost in them, and so is how much ink there was; so both
 * are compared with what training digits have. And an answer that changes when the drawing moves by
 * a pixel was never sure.
 */

import { inkBox } from "./center.js";

/** @typedef {import("./center.js").Ink} Ink */
/** @typedef {import("./layers.js").Tensor} Tensor */

/**
 * What all but one in so many training digits have, measured when the site was built: at least so
 * much evidence, and ink between these two.
 * @typedef {{oneIn: number, leastEvidence: number, leastInk: number, mostInk: number}} Usual
 */

const SIZE = 28;
// Of strokes after scaling; MNIST's are 2 to 3 pixels wide.
const [BOX, WIDE] = [20, 4];

/** How many pixels the ink would fill. @param {Float32Array} pixels */
export function inkOf(pixels) {
  return pixels.reduce((sum, ink) => sum + ink, 0);
}

/**
 * How much the scores speak for any digit at all: about the largest of them. It is what the softmax
 * takes away from each score. @param {Tensor} scores
 */
export function evidenceOf({ data }) {
  const largest = Math.max(...data);
  return largest + Math.log(data.reduce((sum, score) => sum + Math.exp(score - largest), 0));
}

/**
 * The image moved by whole pixels.
 * @param {Float32Array} pixels @param {number} right @param {number} down
 */
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
 * @param {(pixels: Float32Array) => Tensor[]} forward gives the output of each layer
 * @param {Usual} usual
 * @returns {string[]}
 */
export function doubts(pixels, forward, { oneIn, leastEvidence, leastInk, mostInk }) {
  const found = [];
  const most = `${oneIn - 1} of ${oneIn} training digits`;
  const ink = inkOf(pixels);
  if (ink > mostInk) found.push(`there is more ink than in ${most}`);
  if (ink < leastInk) found.push(`there is less ink than in ${most}`);
  const outputs = forward(pixels);
  if (evidenceOf(outputs[outputs.length - 2]) < leastEvidence) {
    found.push(`its scores, whose size no probability shows, are weaker than for ${most}`);
  }
  const others = new Set();
  for (const down of [-1, 0, 1]) {
    for (const right of [-1, 0, 1]) others.add(answerOf(forward(moved(pixels, right, down))));
  }
  others.delete(answerOf(outputs));
  if (others.size) found.push(`moved by a pixel, it reads as ${[...others].join(" or ")}`);
  return found;
}

/** @param {Tensor[]} outputs */
function answerOf(outputs) {
  const { data } = outputs[outputs.length - 1];
  return data.indexOf(Math.max(...data));
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
    `Drawn larger, it is read better: this fills ${Math.round(100 * part)} % of the pad, so ` +
    `scaled to ${BOX} pixels its strokes are ${wide.toFixed(0)} wide, and MNIST's are 2 to 3.`
  );
}
