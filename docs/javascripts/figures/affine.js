// @ts-check
/**
 * Six numbers move a digit. A grid shows where in the input each point of the output looks, which
 * is why the grid turns one way and the digit the other.
 */

import { make, set, signed, svg } from "../elements.js";
import { drawInk, palette, whenThemeChanges } from "../playground/pictures.js";
import { button, canvas, mount, slider, words } from "./parts.js";
import { SIDE, looksAt, matrixOf, resample } from "./resample.js";

/** @typedef {{label: number, pixels: number[], degrees: number, scale: number}} Data */

const LINES = 6; // the grid's cells along a side
const STILL = { degrees: 0, scale: 1, right: 0, down: 0 };

mount("affine", (/** @type {Data} */ data) => {
  const ink = Float32Array.from(data.pixels, (pixel) => pixel / 255);
  const now = { ...STILL, degrees: data.degrees, scale: data.scale };
  const before = canvas(SIDE, SIDE, `The ${data.label}, and on it the grid where the output looks`);
  const after = canvas(SIDE, SIDE, "The output, on a straight grid");
  const looks = svg("path", {});
  const straight = svg("path", { d: gridOf([[1, 0, 0], [0, 1, 0]]) });
  const numbers = Array.from({ length: 6 }, () => make("td", {}));
  const told = words();

  const sliders = {
    degrees: slider(
      "Turn",
      { least: -180, most: 180, value: now.degrees, words: (v) => `${signed(v, 0)}°` },
      read,
    ),
    scale: slider(
      "Size",
      { least: 0.5, most: 2, step: 0.05, value: now.scale, words: (v) => `${v.toFixed(2)} ×` },
      read,
    ),
    right: slider("To the right", { least: -10, most: 10, value: 0, words: pixels }, read),
    down: slider("Down", { least: -10, most: 10, value: 0, words: pixels }, read),
  };

  function read() {
    for (const [name, { input }] of Object.entries(sliders)) {
      now[/** @type {keyof typeof now} */ (name)] = Number(input.value);
    }
    show();
  }

  function reset() {
    Object.assign(now, STILL);
    for (const [name, one] of Object.entries(sliders)) {
      one.set(now[/** @type {keyof typeof now} */ (name)]);
    }
    show();
  }

  function show() {
    const matrix = matrixOf(now);
    const colors = palette();
    drawInk(before, ink, colors);
    drawInk(after, resample(ink, matrix), colors);
    set(looks, { d: gridOf(matrix) });
    matrix.flat().forEach((value, i) => (numbers[i].textContent = signed(value, 3)));
    const [x, y] = looksAt(matrix, 0, 0);
    told.textContent =
      `The digit is turned by ${signed(now.degrees, 0)}°, ${now.scale.toFixed(2)} times as ` +
      `large, ${pixels(now.right)} to the right and ${pixels(now.down)} down. The output's point ` +
      `(x, y) ` +
      `looks at (${terms(matrix[0])}, ${terms(matrix[1])}): its middle, (0, 0), at ` +
      `(${signed(x)}, ${signed(y)}).`;
  }

  whenThemeChanges(show);
  show();
  const table = make(
    "table", { class: "mv-matrix" },
    make("caption", {}, "Matrix, output to input"),
    make("tbody", {}, make("tr", {}, ...numbers.slice(0, 3)), make("tr", {}, ...numbers.slice(3))),
  );
  return [
    make("div", { class: "mv-controls" }, ...Object.values(sliders).map((one) => one.element),
      button("Reset", reset)),
    make("div", { class: "mv-panels mv-pair" },
      panel("Where the output looks", before, looks), panel("Output", after, straight)),
    table,
    told,
  ];
});

/** @param {string} title @param {HTMLCanvasElement} picture @param {SVGElement} grid */
function panel(title, picture, grid) {
  // The frame goes a little beyond the image: a shifted grid looks outside, where there is paper.
  const over = svg("svg", { class: "mv-over", viewBox: "-1 -1 2 2", "aria-hidden": "true" }, grid);
  return make("div", {}, make("p", { class: "mv-title" }, title),
    make("div", { class: "mv-picture" }, picture, over));
}

/** The output's grid as it lies in the input. @param {import("./resample.js").Matrix} matrix */
function gridOf(matrix) {
  const lines = [];
  for (let i = 0; i <= LINES; i++) {
    const at = -1 + (2 * i) / LINES;
    for (const ends of [[[at, -1], [at, 1]], [[-1, at], [1, at]]]) {
      const places = ends.map(([x, y]) => looksAt(matrix, x, y));
      lines.push(places.map((place) => place.map((one) => one.toFixed(3)).join(" ")));
    }
  }
  return lines.map(([from, to]) => `M${from}L${to}`).join("");
}

/** Such as '0.940 x + 0.342 y − 0.100'. @param {[number, number, number]} row */
function terms([a, b, c]) {
  const [y, one] = [b, c].map((value) => `${value < 0 ? "−" : "+"} ${Math.abs(value).toFixed(2)}`);
  return `${signed(a)} x ${y} y ${one}`;
}

/** @param {number} count */
function pixels(count) {
  return `${signed(count, 0)} pixel${Math.abs(count) === 1 ? "" : "s"}`;
}
