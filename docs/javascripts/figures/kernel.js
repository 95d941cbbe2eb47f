// @ts-check
/**
 * A kernel slides over a digit: at each place, patch times kernel, number by number, adds up to
 * one unit of the map, which grows behind it.
 */

import { make, signed } from "../elements.js";
import { patchOf } from "../playground/arithmetic.js";
import { conv2d } from "../playground/layers.js";
import { drawInk, drawMaps, palette, whenThemeChanges } from "../playground/pictures.js";
import { button, canvas, choice, mount, numberGrid, placePicker, slider, words } from "./parts.js";

const MILLISECONDS = 40; // for one place, when it slides by itself

/**
 * pixels: 0 to 255; the network takes (pixel / 255 - mean) / sd. kernels: of each map, row by row
 * @typedef {{layer: string, stage: number, label: number, pixels: number[], mean: number,
 *            sd: number, side: number, kernels: number[][], row: number, column: number}} Data
 */

mount("kernel", (/** @type {Data} */ data) => {
  const { side, kernels, layer } = data;
  const ink = Float32Array.from(data.pixels, (pixel) => pixel / 255);
  const size = Math.sqrt(ink.length);
  /** @type {import("../playground/layers.js").Tensor} */
  const input = { data: ink.map((one) => (one - data.mean) / data.sd), shape: [1, size, size] };
  const window = { kernel_size: [side, side], stride: [1, 1], padding: [0, 0] };
  const maps = kernels.map((kernel) => {
    const weight = { data: Float32Array.from(kernel), shape: [1, 1, side, side] };
    return conv2d(input, weight, null, window).data;
  });
  const places = size - side + 1; // along one side
  const now = { map: 0, place: data.row * places + data.column };

  const digit = canvas(size, size, "");
  const made = canvas(places, places, "");
  const onDigit = placePicker(
    digit,
    {
      label: `A ${data.label}: arrow keys move the patch`,
      rows: places, columns: places, frame: side,
    },
    moveTo,
  );
  const onMap = placePicker(
    made,
    {
      label: `The map of ${layer}: arrow keys move the unit`,
      rows: places, columns: places, frame: 1,
    },
    moveTo,
  );
  const patch = numberGrid(side, "patch");
  const kernel = numberGrid(side, "kernel");
  const products = numberGrid(side, "products");
  const sum = make("output", { class: "mv-sum" });
  const told = words();
  const place = slider(
    "Place",
    {
      least: 0, most: places * places - 1, value: now.place,
      words: (at) => `row ${Math.floor(at / places)}, column ${at % places}`,
    },
    (at) => {
      now.place = at;
      show();
    },
  );
  const names = kernels.map((_, i) => `kernel ${i + 1} of ${kernels.length}`);
  const which = choice("Kernel", names, (map) => {
    now.map = map;
    show();
  });
  let timer = 0;
  const slide = button("Slide", () => (timer ? stop() : start()));

  /** @param {number} row @param {number} column */
  function moveTo(row, column) {
    stop();
    now.place = row * places + column;
    show();
  }

  function start() {
    if (now.place === places * places - 1) now.place = -1;
    slide.textContent = "Stop";
    told.setAttribute("aria-live", "off"); // nobody can listen that fast
    timer = setInterval(() => {
      now.place++;
      if (now.place >= places * places - 1) stop();
      show();
    }, MILLISECONDS);
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    slide.textContent = "Slide";
    told.removeAttribute("aria-live");
  }

  function show() {
    const [row, column] = [Math.floor(now.place / places), now.place % places];
    const colors = palette();
    drawInk(digit, ink, colors);
    // What the kernel has not reached yet is empty.
    const reached = maps[now.map].map((value, i) => (i <= now.place ? value : 0));
    drawMaps([made], { data: reached }, colors, Math.max(...maps[now.map].map(Math.abs)));
    onDigit.set(row, column);
    onMap.set(row, column);
    place.set(now.place);
    const values = patchOf(input, 0, row, column, window).map((one) => one ?? 0);
    const weights = kernels[now.map];
    const times = values.map((value, i) => value * weights[i]);
    const total = times.reduce((a, b) => a + b, 0);
    patch.show(values);
    kernel.show(weights);
    products.show(times);
    sum.textContent = signed(total);
    const list = times.map((one) => signed(one)).join(", ");
    told.textContent =
      `At row ${row}, column ${column}, the products are ${list}; ` +
      `their sum, ${signed(total)}, is the unit of the map there. One kernel makes all ` +
      `${places} × ${places} units.`;
  }

  whenThemeChanges(show);
  show();
  const sign = (/** @type {string} */ text) =>
    make("span", { class: "mv-sign", "aria-hidden": "true" }, text);
  return [
    make("div", { class: "mv-controls" }, which, place.element, slide),
    make(
      "div", { class: "mv-panels mv-pair" },
      make("div", {},
        make("p", { class: "mv-title" }, "The digit, as a network sees it"), onDigit.element),
      make("div", {},
        make("p", { class: "mv-title" }, `Its map behind ${layer}, stage ${data.stage}`),
        onMap.element),
    ),
    make("div", { class: "mv-arithmetic" }, patch.element, sign("×"), kernel.element, sign("="),
      products.element, sign("sum"), sum),
    told,
  ];
}, ["a patch", "its sum"]);
