// @ts-check
/**
 * How the images of a batch move: for each one affine map, drawn afresh.
 *
 * A map is six numbers, two rows of three. It says, for each pixel of the output, where in the
 * input to look, both from -1 to 1 (x to the right, y down). Moves that follow each other
 * multiply, so three of them still cost one resample. mnist_steps/augment.py does the same.
 *
 * @typedef {object} Moves
 * @property {number} crop the smallest share of the image's area that a random crop keeps; 1 is none
 * @property {number} rotation degrees to either side
 * @property {number} shift to each side, as a share of the image's side; whole pixels come out
 *
 * @typedef {[number, number, number, number, number, number]} Map
 */

const SIZE = 28;
const TRIES = 10; // for a box that fits
const RATIO = Math.log(4 / 3); // of a box's sides, at most

/** @param {Moves} moves whether any image moves */
export const doesMove = ({ crop, rotation, shift }) => crop < 1 || rotation > 0 || shift > 0;

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
export function drawMap({ crop, rotation, shift }, uniform) {
  /** @type {Map} */
  let map = [1, 0, 0, 0, 1, 0];
  if (crop < 1) map = cropped(crop, uniform);
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
  let width = SIZE, height = SIZE;
  for (let i = 0; i < TRIES; i++) {
    const area = SIZE * SIZE * (smallest + (1 - smallest) * shares[i]);
    const ratio = Math.exp(RATIO * (2 * ratios[i] - 1));
    const [wide, high] = [Math.round(Math.sqrt(area * ratio)), Math.round(Math.sqrt(area / ratio))];
    if (wide > SIZE || high > SIZE || wide < 1 || high < 1) continue;
    [width, height] = [wide, high];
    break;
  }
  const top = Math.floor(uniform() * (SIZE - height + 1));
  const left = Math.floor(uniform() * (SIZE - width + 1));
  const across = (2 * left + width) / SIZE - 1, down = (2 * top + height) / SIZE - 1;
  return [width / SIZE, 0, across, 0, height / SIZE, down];
}

/** About the middle. @param {number} degrees @param {() => number} uniform @returns {Map} */
function turned(degrees, uniform) {
  const angle = ((2 * uniform() - 1) * degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [cos, -sin, 0, sin, cos, 0];
}

/**
 * By whole pixels; 2 is the image's side.
 * @param {number} share @param {() => number} uniform @returns {Map}
 */
function shifted(share, uniform) {
  const step = () => (Math.round((2 * uniform() - 1) * share * SIZE) * 2) / SIZE;
  const right = step(), down = step();
  return [1, 0, -right, 0, 1, -down];
}
