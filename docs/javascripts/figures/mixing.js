// @ts-check
/**
 * A 1×1 convolution mixes the channels of a pixel, and knows of no other pixel: the channels as a
 * vector, times the layer's matrix, are the new channels.
 */

import { make, signed } from "../elements.js";
import { drawMaps, palette, whenThemeChanges } from "../playground/pictures.js";
import { canvas, choice, mount, placePicker, words } from "./parts.js";

/**
 * maps: one for each channel, side × side, in `unit`s; matrix: a row for each new channel
 * @typedef {{layer: string, stage: number, label: number, unit: number, side: number,
 *            maps: number[][], matrix: number[][], row: number, column: number}} Data
 */

mount("mixing", (/** @type {Data} */ data) => {
  const { side, matrix } = data;
  const maps = data.maps.map((map) => Float32Array.from(map, (value) => value * data.unit));
  const all = Float32Array.from(maps.flatMap((map) => [...map]));
  const now = { row: data.row, column: data.column, made: 0 };

  const pickers = maps.map((_, i) =>
    placePicker(
      canvas(side, side, ""),
      { label: `Map ${i + 1}: arrow keys choose the pixel`, rows: side, columns: side, frame: 1 },
      (row, column) => {
        Object.assign(now, { row, column });
        show();
      },
    ),
  );
  // One of them is reached by the Tab key; all ten would be ten stops for the same thing.
  pickers.slice(1).forEach(({ element }) => element.setAttribute("tabindex", "-1"));
  const pictures = pickers.flatMap(({ element }) => [...element.querySelectorAll("canvas")]);
  const old = barsOf("Its channels before", maps.length);
  const made = barsOf(`Its channels behind ${data.layer}`, matrix.length);
  const weights = matrix.map((row) => {
    const cells = row.map((weight) => {
      const cell = make("td", { title: signed(weight) });
      cell.style.setProperty("--part", `${Math.round((100 * Math.abs(weight)) / largest())}%`);
      cell.classList.toggle("is-negative", weight < 0);
      return cell;
    });
    return make("tr", {}, ...cells);
  });
  const names = matrix.map((_, i) => `channel ${i + 1}`);
  const which = choice("New channel", names, (index) => {
    now.made = index;
    show();
  });
  const told = words();

  function largest() {
    return Math.max(...matrix.flat().map(Math.abs));
  }

  function show() {
    const place = now.row * side + now.column;
    const vector = maps.map((map) => map[place]);
    const given = matrix.map((row) => row.reduce((sum, weight, i) => sum + weight * vector[i], 0));
    drawMaps(pictures, { data: all }, palette());
    pickers.forEach((picker) => picker.set(now.row, now.column));
    old.show(vector, -1);
    made.show(given, now.made);
    weights.forEach((row, i) => row.classList.toggle("is-chosen", i === now.made));
    const sum = matrix[now.made].map((weight, i) => {
      const times = `${signed(Math.abs(weight))} · ${bracketed(vector[i])}`;
      if (!i) return weight < 0 ? `−${times}` : times;
      return weight < 0 ? ` − ${times}` : ` + ${times}`;
    });
    told.textContent =
      `Pixel in row ${now.row}, column ${now.column}. Its new channel ${now.made + 1} is ` +
      `${sum.join("")} = ${signed(given[now.made])}. The same ` +
      `${matrix.length} × ${vector.length} weights serve every pixel.`;
  }

  whenThemeChanges(show);
  show();
  return [
    make("p", { class: "mv-title" },
      `The ${maps.length} maps that ${data.layer} of stage ${data.stage} takes, of a ` +
        `${data.label}: pick a pixel`),
    make("div", { class: "mv-maps mv-wide" }, ...pickers.map(({ element }) => element)),
    make("div", { class: "mv-controls" }, which),
    make("div", { class: "mv-mixing" }, old.element,
      make("div", { "aria-hidden": "true" }, make("p", { class: "mv-title" }, "The matrix"),
        make("table", { class: "mv-weights" }, make("tbody", {}, ...weights))),
      made.element),
    told,
  ];
});

/**
 * Bars to the left and right of zero, with their numbers.
 * @param {string} title @param {number} count
 */
function barsOf(title, count) {
  const rows = Array.from({ length: count }, () => {
    const [bar, number] = [make("i", {}), make("span", {})];
    return { bar, number, item: make("li", {}, bar, number) };
  });
  const list = make("ol", { class: "mv-channels" }, ...rows.map(({ item }) => item));
  const element = make("div", {}, make("p", { class: "mv-title" }, title), list);
  /** @param {number[]} values @param {number} chosen */
  const show = (values, chosen) => {
    const most = Math.max(...values.map(Math.abs), 1e-9);
    values.forEach((value, i) => {
      const { bar, number, item } = rows[i];
      bar.style.setProperty("--part", `${((50 * Math.abs(value)) / most).toFixed(1)}%`);
      bar.classList.toggle("is-negative", value < 0);
      item.classList.toggle("is-chosen", i === chosen);
      number.textContent = signed(value);
    });
  };
  return { element, show };
}

/** @param {number} value */
function bracketed(value) {
  return value < 0 ? `(${signed(value)})` : signed(value);
}
