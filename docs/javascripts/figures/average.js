// @ts-check
/**
 * The average that forgets where: a digit moves sideways, its ten maps move along, and their
 * averages, which are the scores, move less than the scores of a network that keeps places.
 */

import { make, set, signed, svg } from "../elements.js";
import { drawInk, drawMaps, largestOf, palette, whenThemeChanges } from "../playground/pictures.js";
import { canvas, mount, slider, words } from "./parts.js";

/**
 * maps: at each shift, ten of side × side, and scores: of both stages at each shift; in `unit`s
 * @typedef {{label: number, pixels: number[], shifts: number[], unit: number, side: number,
 *            maps: number[][], stages: [number, number], scores: number[][][]}} Data
 */

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const [WIDTH, HEIGHT, FOOT] = [320, 110, 16];

mount("average", (/** @type {Data} */ data) => {
  const size = Math.sqrt(data.pixels.length);
  const ink = Float32Array.from(data.pixels, (pixel) => pixel / 255);
  const maps = data.maps.map((one) => Float32Array.from(one, (value) => value * data.unit));
  const scores = data.scores.map((stage) =>
    stage.map((row) => row.map((value) => value * data.unit)),
  );
  const still = data.shifts.indexOf(0);
  const largest = Math.max(...maps.map((one) => largestOf({ data: one })));

  const digit = canvas(size, size, `The ${data.label}, shifted`);
  const pictures = DIGITS.map((one) => canvas(data.side, data.side, `The map for ${one}`));
  const averages = DIGITS.map(() => make("span", {}));
  const cells = DIGITS.map((one) => {
    const name = make("b", {}, `${one}`);
    const cell = make("li", {}, name, pictures[one], averages[one]);
    cell.classList.toggle("is-right", one === data.label);
    return cell;
  });
  const charts = data.stages.map((stage, i) => chartOf(`Scores of stage ${stage}`, scores[i]));
  const told = words();
  const shift = slider(
    "Shift",
    {
      least: 0, most: data.shifts.length - 1, value: still,
      words: (at) => inWords(data.shifts[at]),
    },
    show,
  );
  let shown = still;

  /** @param {number} at position in `shifts` */
  function show(at) {
    shown = at;
    const colors = palette();
    drawInk(digit, moved(ink, size, data.shifts[at]), colors);
    drawMaps(pictures, { data: maps[at] }, colors, largest);
    averages.forEach((one, i) => (one.textContent = signed(meanOf(maps[at], i))));
    const changes = charts.map(({ draw }) => draw(at));
    const answers = scores.map((stage) => stage[at].indexOf(Math.max(...stage[at])));
    const said = data.stages.map((stage, i) => {
      const part = (100 * changes[i]) / spreadOf(scores[i][still]);
      const change = `${signed(changes[i])}, ${signed(part, 0)}\u00a0% of their spread`;
      return `those of stage ${stage} by ${change} (it reads ${answers[i]})`;
    });
    const alike = answers[0] === answers[1];
    const read = alike ? `both networks read ${answers[0]}` : `they read ${answers.join(" and ")}`;
    told.textContent =
      at === still
        ? `Not shifted, ${read}. Under each map stands its average: that is the digit's score in ` +
          `stage ${data.stages[1]}.`
        : `Shifted by ${inWords(data.shifts[at])}, scores move on average: ${said.join(", ")}.`;
  }

  /** @param {Float32Array} values @param {number} map */
  function meanOf(values, map) {
    const cells = data.side * data.side;
    const part = values.subarray(map * cells, (map + 1) * cells);
    return part.reduce((a, b) => a + b, 0) / cells;
  }

  /**
   * Ten bars, and beside each a mark where it stands without a shift.
   * @param {string} title @param {number[][]} rows
   */
  function chartOf(title, rows) {
    const most = Math.max(...rows.flat());
    const least = Math.min(0, ...rows.flat());
    const y = (/** @type {number} */ score) => ((most - score) / (most - least)) * (HEIGHT - 8) + 4;
    const step = WIDTH / DIGITS.length;
    const bars = svg("path", { class: "mv-bars" });
    const marks = DIGITS.map((one) => {
      const [from, at] = [one * step + 1, y(rows[still][one])];
      return `M${from} ${at.toFixed(1)}h${step - 2}`;
    });
    const picture = svg(
      "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + FOOT}`, role: "img" }, bars,
      svg("line", { class: "mv-axis", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) }),
      svg("path", { class: "mv-marks", d: marks.join("") }),
      ...DIGITS.map((one) =>
        svg(
          "text",
          { x: (one + 0.5) * step, y: HEIGHT + FOOT - 2, "text-anchor": "middle" },
          `${one}`,
        )),
    );
    const facts = make("p", { class: "mv-facts" });
    const element = make("div", {}, make("p", { class: "mv-title" }, title), picture, facts);
    /** Draw, and tell by how much the scores moved. @param {number} at */
    const draw = (at) => {
      const shapes = rows[at].map((score, one) => {
        const left = one * step + 5;
        const [zero, top] = [y(0).toFixed(1), y(score).toFixed(1)];
        return `M${left} ${zero}V${top}h${step - 10}V${zero}Z`;
      });
      set(bars, { d: shapes.join("") });
      const moves = rows[at].map((one, i) => Math.abs(one - rows[still][i]));
      const change = moves.reduce((a, b) => a + b, 0) / moves.length;
      facts.textContent = `move by ${signed(change)} on average`;
      const list = rows[at].map((score, one) => `${one}: ${signed(score)}`).join(", ");
      set(picture, { "aria-label": `${title}: ${list}` });
      return change;
    };
    return { element, draw };
  }

  whenThemeChanges(() => show(shown));
  show(still);
  return [
    make("div", { class: "mv-controls" }, shift.element),
    make("div", { class: "mv-average" },
      make("div", {}, make("p", { class: "mv-title" }, "The digit"),
        make("div", { class: "mv-picture" }, digit)),
      make("div", {},
        make("p", { class: "mv-title" },
          `Its ten last maps in stage ${data.stages[1]}, and their averages`),
        make("ul", { class: "mv-maps" }, ...cells))),
    make("div", { class: "mv-panels" }, ...charts.map((chart) => chart.element)),
    make("p", { class: "mv-facts" }, "Lines mark the scores without a shift."),
    told,
  ];
}, ["maps", "scores"]);

/** The standard deviation. @param {number[]} values */
function spreadOf(values) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return Math.sqrt(values.reduce((sum, one) => sum + (one - mean) ** 2, 0) / values.length);
}

/**
 * The digit moved to the right, paper coming in.
 * @param {Float32Array} ink @param {number} size @param {number} right
 */
function moved(ink, size, right) {
  return ink.map((_, i) => {
    const column = (i % size) - right;
    return column >= 0 && column < size ? ink[i - right] : 0;
  });
}

/** @param {number} right */
function inWords(right) {
  if (!right) return "not at all";
  const count = Math.abs(right);
  return `${count} pixel${count === 1 ? "" : "s"} to the ${right > 0 ? "right" : "left"}`;
}
