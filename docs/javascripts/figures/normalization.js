// @ts-check
/**
 * What batch normalization does to one channel, over the first steps of a training: the histogram
 * of its values without it, before it and behind it.
 */

import { make, set, signed, svg } from "../elements.js";
import { brief, mount, slider, words } from "./parts.js";

/**
 * shares: of the values in each bar, in ten-thousandths, at each step
 * @typedef {{name: string, mean: number[], spread: number[], shares: number[][]}} Line
 * @typedef {{channel: number, range: [number, number, number], batch: number, steps: number[],
 *            learnt: [number, number][], lines: Line[]}} Data
 */

const [WIDTH, HEIGHT, BOTTOM] = [320, 128, 20];

mount("normalization", (/** @type {Data} */ data) => {
  const [low, high, bars] = data.range;
  const x = (/** @type {number} */ value) => ((value - low) / (high - low)) * WIDTH;
  const panels = data.lines.map((line) => {
    const shape = svg("path", { class: "mv-bars" });
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + BOTTOM}`, role: "img" }, shape);
    for (let mark = low; mark <= high; mark += 2) {
      const anchor = mark === low ? "start" : mark === high ? "end" : "middle";
      picture.append(
        svg("line", { class: "mv-grid-line", x1: x(mark), x2: x(mark), y1: 0, y2: HEIGHT }),
        svg("text", { x: x(mark), y: HEIGHT + 15, "text-anchor": anchor }, signed(mark, 0)),
      );
    }
    picture.append(svg("line", { class: "mv-axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }));
    const facts = make("p", { class: "mv-facts" });
    const element = make("div", {}, make("p", { class: "mv-title" }, line.name), picture, facts);
    return { line, shape, picture, facts, element };
  });
  const told = words();
  const step = slider(
    "Step",
    {
      least: 0, most: data.steps.length - 1, value: 0,
      words: (i) => (data.steps[i] ? `after ${counted(data.steps[i])}` : "before the first step"),
    },
    show,
  );

  /** @param {number} at position in `steps` */
  function show(at) {
    for (const { line, shape, picture, facts } of panels) {
      const shares = line.shares[at];
      const most = Math.max(...shares);
      const width = WIDTH / bars;
      const path = shares.map((share, i) => {
        const top = HEIGHT - (share / most) * (HEIGHT - 6);
        const left = (i * width).toFixed(1);
        return `M${left} ${HEIGHT}V${top.toFixed(1)}h${width.toFixed(2)}V${HEIGHT}`;
      });
      set(shape, { d: path.join("") });
      const numbers = `mean ${brief(line.mean[at])}, spread ${brief(line.spread[at])}`;
      facts.textContent = numbers;
      set(picture, { "aria-label": `Histogram of ${line.name}: ${numbers}` });
    }
    const [without, before, behind] = data.lines;
    const [weight, bias] = data.learnt[at];
    const step = data.steps[at];
    const when = step ? `After ${counted(step)} of ${data.batch} digits` : "Before the first step";
    told.textContent =
      `${when}, the values of one channel spread by ${brief(without.spread[at])} in ` +
      `${without.name}, by ${brief(before.spread[at])} in ${before.name}, and by ` +
      `${brief(behind.spread[at])} behind the normalization, around ${brief(behind.mean[at])}: ` +
      `its learnt numbers are γ = ${signed(weight)} and β = ${signed(bias)}. Each histogram ` +
      `is as high as its own highest bar; what lies beyond ` +
      `${signed(low, 0)} or ${signed(high, 0)} is in its last one.`;
  }

  show(0);
  return [
    make("div", { class: "mv-controls" }, step.element),
    make("div", { class: "mv-panels mv-three" }, ...panels.map((panel) => panel.element)),
    told,
  ];
}, ["without", "before", "behind"]);

/** @param {number} steps */
function counted(steps) {
  return `${steps} step${steps === 1 ? "" : "s"}`;
}
