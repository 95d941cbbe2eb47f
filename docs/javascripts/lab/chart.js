// @ts-check
/**
 * A chart of lines and dots, as SVG: labels beside what they name, and all of it in words.
 *
 * @typedef {object} Series
 * @property {string} label
 * @property {"own" | "other" | "site"} kind the reader's, one to compare with, the site's points
 * @property {[number, number][]} points
 * @property {boolean} [dots] whether points stand by themselves
 * @property {boolean} [open] whether dots are rings
 *
 * @typedef {object} Axis
 * @property {number} from @property {number} to
 * @property {number[]} marks
 * @property {(value: number) => string} [text] of a mark
 * @property {boolean} [log]
 */

import { svg, within } from "../elements.js";

const WIDTH = 640, HEIGHT = 270;
const LEFT = 50, TOP = 14, BOTTOM = 28;
const APART = 15; // from one label to the next below it
const WIDE = 8; // a letter

/**
 * @param {{words: string, x: Axis, y: Axis, series: Series[], right?: number, line?: number}} chart
 *   words: what it shows, for who does not see it; right: room for labels; line: a value of y to
 *   draw a line at
 * @returns {SVGElement}
 */
export function chart({ words, x, y, series, right = 125, line }) {
  const width = WIDTH - LEFT - right, height = HEIGHT - TOP - BOTTOM;
  /** @param {number} value */
  const across = (value) => LEFT + width * placeOn(x, value);
  /** @param {number} value */
  const down = (value) => TOP + height * (1 - placeOn(y, value));

  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words });
  for (const mark of y.marks) {
    const at = down(mark);
    drawing.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - right, y1: at, y2: at }));
    const place = { class: "mark", x: LEFT - 6, y: at + 4, "text-anchor": "end" };
    drawing.append(svg("text", place, y.text?.(mark) ?? `${mark}`));
  }
  for (const mark of x.marks) {
    const place = { class: "mark", x: across(mark), y: HEIGHT - 8, "text-anchor": "middle" };
    drawing.append(svg("text", place, x.text?.(mark) ?? `${mark}`));
  }
  if (line !== undefined) {
    const at = down(line);
    drawing.append(svg("line", { class: "target", x1: LEFT, x2: WIDTH - right, y1: at, y2: at }));
  }

  const drawn = series.filter(({ points }) => points.length);
  /** @type {Label[]} */
  const labels = [];
  for (const { label, kind, points, dots, open } of drawn) {
    const group = svg("g", { class: `is-${kind}` });
    const places = points.map(([one, other]) => [across(one), down(other)]);
    if (dots || places.length === 1) {
      for (const [cx, cy] of places) {
        group.append(svg("circle", { class: open ? "ring" : "dot", cx, cy, r: 4.5 }));
      }
    } else {
      const text = places.map((place) => place.map((one) => one.toFixed(1)).join(",")).join(" ");
      group.append(svg("polyline", { class: "run", points: text }));
    }
    const [endX, endY] = /** @type {number[]} */ (places.at(-1));
    const node = svg("text", { x: endX + 8, y: endY + 4 }, label);
    group.append(node);
    drawing.append(group);
    if (label) labels.push({ x: endX, y: endY + 4, node });
  }
  spread(labels);
  return drawing;
}

/**
 * Labels that would stand on each other move apart; a thin line leads to what each names.
 * @typedef {{x: number, y: number, node: SVGElement}} Label
 * @param {Label[]} labels
 */
function spread(labels) {
  labels.sort((one, other) => one.y - other.y);
  labels.forEach((label, i) => {
    const above = labels.slice(0, i).filter((other) => areOver(other, label));
    const named = label.y;
    for (const { y } of above) label.y = Math.max(label.y, y + APART);
    label.node.setAttribute("y", label.y.toFixed(1));
    if (label.y - named < APART / 2) return;
    label.node.setAttribute("x", (label.x + 20).toFixed(1));
    const ends = { x1: label.x + 5, y1: named - 4, x2: label.x + 18, y2: label.y - 4 };
    label.node.before(svg("line", { class: "lead", ...ends }));
  });
}

/** Whether they would share a column. @param {Label} one @param {Label} other */
function areOver(one, other) {
  const endOf = (/** @type {Label} */ { x, node }) => x + WIDE * (node.textContent ?? "").length;
  return one.x < endOf(other) && other.x < endOf(one);
}

/** From 0 to 1; what lies outside is at the edge. @param {Axis} axis @param {number} value */
function placeOn({ from, to, log }, value) {
  const of = (/** @type {number} */ one) => (log ? Math.log(Math.max(one, 1e-9)) : one);
  return within((of(value) - of(from)) / (of(to) - of(from)), 0, 1);
}
