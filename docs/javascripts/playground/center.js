// @ts-check
/**
 * A drawing made to look as MNIST's digits do.
 *
 * The makers of MNIST scaled each digit so that its longer side measures 20 pixels, and put it
 * into 28 × 28 pixels so that its centre of mass is in the middle. The networks never saw
 * anything else, so a drawing has to go the same way.
 */

/**
 * A grid of ink: 0 is paper, 1 is full ink.
 * @typedef {{data: Float32Array, width: number, height: number}} Ink
 */

const SIZE = 28;
const BOX = 20;
// In all of MNIST the centre of mass falls into this pixel's row and column (counted from 0).
const MIDDLE = 14;

/**
 * Scale and place a drawing.
 * @param {Ink} drawing of any size
 * @returns {Float32Array} 28 × 28 values; all 0 when there is no ink
 */
export function center(drawing) {
  const out = new Float32Array(SIZE * SIZE);
  const box = inkBox(drawing);
  if (!box) return out;
  const digit = scale(drawing, box, BOX / Math.max(box.width, box.height));
  const mass = centerOfMass(digit);
  const top = within(MIDDLE - Math.round(mass.y), SIZE - digit.height);
  const left = within(MIDDLE - Math.round(mass.x), SIZE - digit.width);
  for (let y = 0; y < digit.height; y++) {
    for (let x = 0; x < digit.width; x++) {
      out[(top + y) * SIZE + left + x] = digit.data[y * digit.width + x];
    }
  }
  return out;
}

/**
 * The smallest rectangle that holds all ink; null when there is none.
 * @param {Ink} ink
 */
export function inkBox({ data, width, height }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (data[y * width + x] === 0) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/**
 * A rectangle of the drawing, smaller or larger. Each new pixel is the mean of the area that it
 * covers, which turns hard edges into MNIST's grey ones.
 * @param {Ink} ink
 * @param {{left: number, top: number, width: number, height: number}} box
 * @param {number} factor
 * @returns {Ink}
 */
export function scale(ink, box, factor) {
  const width = Math.max(1, Math.round(box.width * factor));
  const height = Math.max(1, Math.round(box.height * factor));
  const data = new Float32Array(width * height);
  const columns = overlaps(box.left, box.width, width);
  const rows = overlaps(box.top, box.height, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (const [row, tall] of rows[y]) {
        for (const [column, wide] of columns[x]) {
          sum += tall * wide * ink.data[row * ink.width + column];
        }
      }
      data[y * width + x] = sum;
    }
  }
  return { data, width, height };
}

/**
 * Along one axis, for each of `parts` equal pieces: the pixels under it, each with the part of
 * the piece that it makes up.
 * @param {number} start @param {number} size @param {number} parts
 * @returns {[number, number][][]}
 */
function overlaps(start, size, parts) {
  const length = size / parts;
  return Array.from({ length: parts }, (_, part) => {
    const [from, until] = [part * length, (part + 1) * length];
    /** @type {[number, number][]} */
    const found = [];
    for (let i = Math.floor(from); i < Math.min(size, Math.ceil(until)); i++) {
      const covered = Math.min(until, i + 1) - Math.max(from, i);
      if (covered > 0) found.push([start + i, covered / length]);
    }
    return found;
  });
}

/**
 * Where the ink balances, in pixels from the first.
 * @param {Ink} ink
 */
export function centerOfMass({ data, width, height }) {
  let [mass, x, y] = [0, 0, 0];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const ink = data[row * width + column];
      mass += ink;
      x += ink * column;
      y += ink * row;
    }
  }
  return { x: x / mass, y: y / mass };
}

/** @param {number} value @param {number} largest */
function within(value, largest) {
  return Math.max(0, Math.min(largest, value));
}
