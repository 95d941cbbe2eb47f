// @ts-check
/**
 * How the images of a batch move: for each one affine map, drawn afresh.
 *
 * A map is six numbers, two rows of three. It says, for each pixel of the output, where in the
 * input to look, both from -1 to 1 (x to the right, y down). Moves that follow each other
 * multiply, so three of them still cost one resample. mnist_steps/augment.py does the same.
 *
 * @typedef {object} Moves
 * @property {number} centerCrop how probably the middle of the image is enlarged
 * @property {number} crop the smallest share of the area that a random crop keeps; 1 is none
 * @property {number} rotation degrees to either side
 * @property {number} shift pixels to each side, drawn in between and rounded
 *
 * @typedef {[number, number, number, number, number, number]} Map
 */

import { CENTER, SIDE } from "./design.js";

const TRIES = 10; // for a box that fits
const RATIO = Math.log(4 / 3); // of a box's sides, at most

/** @param {Moves} moves whether any image moves */
export function doesMove({ centerCrop, crop, rotation, shift }) {
  return centerCrop > 0 || crop < 1 || rotation > 0 || shift > 0;
}

/**
 * A map for each image, one after the other.
 * @param {Moves} moves @param {number} count @param {() => number} uniform from 0 to below 1
 * @returns {Float32Array | null} null leaves images as they are
 */
export function drawMaps(moves, count, uniform) {
  if (!doesMove(moves)) return null;
  const maps = new Float32Array(6 * count);
  for (let i = 0; i < count; i++) maps.set(drawMap(moves, uniform), 6 * i);
  return maps;
}

/**
 * Crop, then turn, then shift, as far as wanted.
 * @param {Moves} moves @param {() => number} uniform @returns {Map}
 */
export function drawMap({ centerCrop, crop, rotation, shift }, uniform) {
  /** @type {Map} */
  let map = [1, 0, 0, 0, 1, 0];
  if (centerCrop > 0 && uniform() < centerCrop) map = [CENTER / SIDE, 0, 0, 0, CENTER / SIDE, 0];
  if (crop < 1) map = then(map, cropped(crop, uniform));
  if (rotation > 0) map = then(map, turned(rotation, uniform));
  if (shift > 0) map = then(map, shifted(shift, uniform));
  return map;
}

/**
 * Two maps as one. Points of the output travel backwards: through the later map first.
 * @param {Map} one @param {Map} later @returns {Map}
 */
function then([a, b, c, d, e, f], [g, h, i, j, k, l]) {
  return [
    a * g + b * j, a * h + b * k, a * i + b * l + c,
    d * g + e * j, d * h + e * k, d * i + e * l + f,
  ];
}

/**
 * A random box of whole pixels, enlarged to the whole image; the image itself where none fits.
 * @param {number} smallest @param {() => number} uniform @returns {Map}
 */
function cropped(smallest, uniform) {
  const shares = Array.from({ length: TRIES }, uniform);
  const ratios = Array.from({ length: TRIES }, uniform);
  let width = SIDE, height = SIDE;
  for (let i = 0; i < TRIES; i++) {
    const area = SIDE * SIDE * (smallest + (1 - smallest) * shares[i]);
    const ratio = Math.exp(RATIO * (2 * ratios[i] - 1));
    const [wide, high] = [Math.round(Math.sqrt(area * ratio)), Math.round(Math.sqrt(area / ratio))];
    if (wide > SIDE || high > SIDE || wide < 1 || high < 1) continue;
    [width, height] = [wide, high];
    break;
  }
  const top = Math.floor(uniform() * (SIDE - height + 1));
  const left = Math.floor(uniform() * (SIDE - width + 1));
  const across = (2 * left + width) / SIDE - 1, down = (2 * top + height) / SIDE - 1;
  return [width / SIDE, 0, across, 0, height / SIDE, down];
}

/** About the middle. @param {number} degrees @param {() => number} uniform @returns {Map} */
function turned(degrees, uniform) {
  const angle = ((2 * uniform() - 1) * degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [cos, -sin, 0, sin, cos, 0];
}

/**
 * By whole pixels; 2 is the image's side.
 * @param {number} most @param {() => number} uniform @returns {Map}
 */
function shifted(most, uniform) {
  const step = () => (Math.round((2 * uniform() - 1) * most) * 2) / SIDE;
  const right = step(), down = step();
  return [1, 0, -right, 0, 1, -down];
}
