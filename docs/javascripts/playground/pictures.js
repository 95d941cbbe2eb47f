// @ts-check
/**
 * Numbers as pictures: an image in ink, feature maps in two colours, in the page's light or dark.
 */

/** @typedef {import("./layers.js").Tensor} Tensor */
/** @typedef {import("./field.js").Field} Field */
/** @typedef {[number, number, number]} Color red, green, blue: 0 to 255 each */

const STEPS = 255; // of colour between zero and the largest value

/** The page's colours, as they are now. */
export function palette() {
  const style = getComputedStyle(document.body);
  /** @param {string} name @returns {Color} */
  const color = (name) => {
    const hex = style.getPropertyValue(name).trim();
    const [red, green, blue] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    return [red, green, blue];
  };
  return {
    paper: color("--soft"),
    ink: color("--figure-ink"),
    positive: color("--figure-test"),
    negative: color("--figure-train"),
    field: color("--figure-accent"),
  };
}

/** @typedef {ReturnType<typeof palette>} Palette */

/** What is drawn with a palette is drawn again then. @param {() => void} task */
export function whenThemeChanges(task) {
  const observer = new MutationObserver(task);
  observer.observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
}

/**
 * Draw an image in ink on paper, one canvas pixel for each.
 * @param {HTMLCanvasElement} canvas @param {Float32Array} pixels 0 is paper, 1 is ink
 * @param {Palette} colors
 */
export function drawInk(canvas, pixels, colors) {
  paint(canvas, pixels, ramp(colors.paper, colors.paper, colors.ink), 1);
}

/**
 * Draw each map of a layer into its canvas: zero is paper, positive and negative have a colour
 * each, and the layer's largest value is the full colour. Maps of one layer can be compared.
 * @param {HTMLCanvasElement[]} canvases one for each map
 * @param {Pick<Tensor, "data">} tensor what the layer gave
 * @param {Palette} colors
 * @param {number} largest the value of the full colour
 */
export function drawMaps(canvases, tensor, colors, largest = largestOf(tensor)) {
  const size = tensor.data.length / canvases.length;
  const table = ramp(colors.negative, colors.paper, colors.positive);
  canvases.forEach((canvas, map) => {
    paint(canvas, tensor.data.subarray(map * size, (map + 1) * size), table, largest);
  });
}

/** The largest value, whatever its sign. @param {Pick<Tensor, "data">} tensor */
export function largestOf({ data }) {
  let largest = 1e-9; // never 0: an empty drawing may give nothing but zeros
  for (const value of data) largest = Math.max(largest, Math.abs(value));
  return largest;
}

/**
 * Draw the image that the network gets; with a field, frame it and fade the rest.
 * @param {HTMLCanvasElement} canvas several canvas pixels for each of the image's
 * @param {Float32Array} pixels @param {Field | null} field @param {Palette} colors
 */
export function drawSeen(canvas, pixels, field, colors) {
  const small = document.createElement("canvas");
  small.width = small.height = 28;
  drawInk(small, pixels, colors);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const cell = canvas.width / 28;
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  if (!field || !field.rows.length) return;
  const [rows, columns] = [new Set(field.rows), new Set(field.columns)];
  for (let y = 0; y < 28; y++) {
    for (let x = 0; x < 28; x++) {
      const [color, opacity] =
        rows.has(y) && columns.has(x) ? [colors.field, 0.22] : [colors.paper, 0.72];
      context.fillStyle = `rgb(${color.join(" ")} / ${opacity})`;
      context.fillRect(x * cell, y * cell, cell, cell);
    }
  }
  const [top, left] = [field.rows[0], field.columns[0]];
  const [bottom, right] = [field.rows.at(-1) ?? top, field.columns.at(-1) ?? left];
  context.strokeStyle = `rgb(${colors.field.join(" ")})`;
  context.lineWidth = cell / 2;
  const inset = cell / 4; // so that a frame at the image's edge is drawn whole
  context.strokeRect(
    left * cell + inset,
    top * cell + inset,
    (right - left + 1) * cell - 2 * inset,
    (bottom - top + 1) * cell - 2 * inset,
  );
}

/**
 * Colours from -STEPS to STEPS, as the words that an ImageData is made of: red is the lowest byte.
 * @param {Color} negative @param {Color} zero @param {Color} positive
 */
function ramp(negative, zero, positive) {
  return Uint32Array.from({ length: 2 * STEPS + 1 }, (_, i) => {
    const part = (i - STEPS) / STEPS;
    const end = part < 0 ? negative : positive;
    const mix = zero.map((from, k) => Math.round(from + (end[k] - from) * Math.abs(part)));
    const [red, green, blue] = mix;
    return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  });
}

/**
 * Draw numbers into a canvas that has one pixel for each.
 * @param {HTMLCanvasElement} canvas @param {Float32Array} values
 * @param {Uint32Array} colors as `ramp` gives them
 * @param {number} largest the value with the ramp's last colour
 */
function paint(canvas, values, colors, largest) {
  const image = new ImageData(canvas.width, canvas.height);
  const words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < values.length; i++) {
    words[i] = colors[Math.round((values[i] / largest) * STEPS) + STEPS];
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}
