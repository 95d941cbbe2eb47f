// @ts-check
/**
 * Two trainings in one chart: test accuracy epoch by epoch, and how far other seeds spread.
 */

import { svg } from "../elements.js";

/** @typedef {import("./compare.js").Stage} Stage */

const WIDEST = 720;
const HEIGHT = 300;
const LEFT = 52;
const RIGHT = 76; // room for the labels at the end of the lines
const TOP = 28;
const BOTTOM = 40;

// Percent of the images that are read wrongly, on a logarithmic axis, as in the site's other curves.
const [MOST, LEAST] = [100, 0.4];
const MARKS = [0.5, 1, 2, 3, 5, 10, 20, 50, 90];

/**
 * @param {Stage[]} stages two, the second drawn over the first
 * @param {number} room pixels across, so that words keep their size on a telephone
 * @returns {SVGElement}
 */
export function curves(stages, room) {
  const width = Math.min(WIDEST, room);
  const epochs = Math.max(...stages.flatMap((stage) => [stage.test.length, stage.study?.mean.length ?? 0]));
  const errors = stages.flatMap(({ test, study }) => [...test, ...(study?.low ?? [])].map((one) => 100 - one));
  const most = Math.min(MOST, 1.1 * Math.max(...errors));
  /** @param {number} epoch */
  const x = (epoch) => LEFT + ((epoch - 1) / Math.max(1, epochs - 1)) * (width - LEFT - RIGHT);
  /** @param {number} accuracy in percent */
  const y = (accuracy) => {
    const error = Math.min(most, Math.max(LEAST, 100 - accuracy));
    const share = Math.log(most / error) / Math.log(most / LEAST);
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  };
  /** @param {number[]} values */
  const line = (values) => values.map((value, i) => `${x(i + 1).toFixed(1)},${y(value).toFixed(1)}`);

  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": inWords(stages) });
  for (const error of MARKS.filter((mark) => mark < most)) {
    const at = y(100 - error);
    drawing.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }));
    drawing.append(svg("text", { class: "mark", x: LEFT - 8, y: at + 4, "text-anchor": "end" }, `${100 - error}`));
  }
  for (let epoch = 1; epoch <= epochs; epoch += epochs > 8 ? 2 : 1) {
    const place = { class: "mark", x: x(epoch), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" };
    drawing.append(svg("text", place, `${epoch}`));
  }
  const middle = { class: "mark", x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" };
  drawing.append(svg("text", middle, "epoch"));
  drawing.append(svg("text", { class: "mark", x: 0, y: 12 }, "test accuracy in percent"));

  const ends = labelPlaces(stages.map((stage) => y(stage.test.at(-1) ?? 0)));
  stages.forEach((stage, i) => {
    const group = svg("g", { class: i ? "is-b" : "is-a" });
    if (stage.study) {
      const band = [...line(stage.study.high), ...line(stage.study.low).reverse()];
      group.append(svg("polygon", { class: "spread", points: band.join(" ") }));
      group.append(svg("polyline", { class: "mean", points: line(stage.study.mean).join(" ") }));
    }
    group.append(svg("polyline", { class: "run", points: line(stage.test).join(" ") }));
    const end = { x: x(stage.test.length) + 8, y: ends[i] + 4 };
    group.append(svg("text", end, `stage ${stage.number}`));
    drawing.append(group);
  });
  return drawing;
}

/** Labels at the height of their lines' ends, but never on each other. @param {number[]} heights */
function labelPlaces([a, b]) {
  const apart = 16 - Math.abs(a - b);
  if (apart <= 0) return [a, b];
  return a < b ? [a - apart / 2, b + apart / 2] : [a + apart / 2, b - apart / 2];
}

/** @param {Stage[]} stages */
function inWords(stages) {
  const parts = stages.map(({ number, test, study }) => {
    const spread = study ? `, over the seeds of the study ${study.text}` : "";
    return `stage ${number} goes from ${test[0]} to ${test.at(-1)} percent${spread}`;
  });
  return `Test accuracy over the epochs: ${parts.join("; ")}.`;
}
