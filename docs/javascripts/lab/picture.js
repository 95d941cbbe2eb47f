// @ts-check
/**
 * The network as a picture: each map to scale, one sheet for each channel, the parameters that it
 * took as the area of a bar below. What only changes values, normalization and ReLU, is said by name.
 */

import { make, svg } from "../elements.js";
import { SIDE, count } from "./design.js";

/** @typedef {import("./design.js").Facts} Facts */

const PIXEL = 2; // of the screen, for one of a map
const BETWEEN = 1; // pixels of the screen between two sheets
const LEAST = 4; // so small is a map of one value still seen
const AREA = 0.35; // pixels of the screen for a parameter
const MARKS = ["BatchNorm2d", "ReLU"];
/** @type {Record<string, string>} */
const WORDS = { BatchNorm2d: "norm", ReLU: "ReLU" };

/**
 * A list: the image, then each layer that gives maps of its own.
 * @param {(Facts | null)[]} rows
 */
export function picture(rows) {
  const list = make("ul", { class: "lab-picture", "aria-label": "The network as a picture" });
  /** @type {{name: string, shape: number[], parameters: number, marks: string[]}[]} */
  const steps = [{ name: "image", shape: [1, SIDE, SIDE], parameters: 0, marks: [] }];
  for (const row of rows) {
    if (!row) break;
    const last = steps[steps.length - 1];
    if (MARKS.includes(row.kind)) {
      last.marks.push(WORDS[row.kind]);
      last.parameters += row.parameters;
    } else {
      steps.push({ name: row.name, shape: row.outputShape, parameters: row.parameters, marks: [] });
    }
  }
  for (const { name, shape, parameters, marks } of steps) {
    const [channels, height, width] = shape;
    const spent = `${count(parameters)} parameter${parameters === 1 ? "" : "s"}`;
    const bar = make("span", { class: "lab-spent" });
    // Area, not length: a layer with four times as many looks four times as large.
    bar.style.setProperty("--side", `${Math.sqrt(parameters * AREA).toFixed(1)}px`);
    list.append(
      make(
        "li",
        {},
        sheets(channels, height, width),
        make("code", {}, name),
        make("span", {}, `${channels} × ${height}×${width}`),
        make("span", { class: "lab-marks" }, marks.join(", ")),
        bar,
        make("span", { class: "lab-unseen" }, spent),
      ),
    );
  }
  return list;
}

/** One square behind the other. @param {number} channels @param {number} height @param {number} width */
function sheets(channels, height, width) {
  const [high, wide] = [height, width].map((side) => Math.max(LEAST, side * PIXEL));
  const depth = (channels - 1) * BETWEEN;
  const drawing = svg("svg", {
    "aria-hidden": "true", width: wide + depth + 2, height: high + depth + 2,
    viewBox: `-1 -1 ${wide + depth + 2} ${high + depth + 2}`,
  });
  for (let sheet = channels - 1; sheet >= 0; sheet--) {
    const at = sheet * BETWEEN;
    drawing.append(svg("rect", { x: at, y: depth - at, width: wide, height: high }));
  }
  return drawing;
}
