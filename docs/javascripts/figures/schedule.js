// @ts-check
/**
 * The one-cycle schedule with a peak to move: the learning rate rises and falls, and momentum does
 * the opposite.
 */

import { make, set, signed, svg, within } from "../elements.js";
import { meanRate, oneCycle, turningPoint } from "./one_cycle.js";
import { button, mount, slider, words } from "./parts.js";

/** @typedef {import("./one_cycle.js").Cycle} Cycle */
/** @typedef {Cycle & {epochs: number, constant: number, constantMomentum: number}} Data */

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [340, 190, 46, 10, 12, 34];
const POINTS = 200;
const [LEAST_SHARE, MOST_SHARE] = [5, 95]; // percent
const HIGHEST = 4; // times the recipe's peak
const STEPS = 40; // of the slider for the peak

mount("schedule", (/** @type {Data} */ data) => {
  const now = { ...data };
  const most = data.peak * HIGHEST;
  const rates = chart("Learning rate", 0, most, [0, most / 4, most / 2, (3 * most) / 4, most], 4);
  const momenta = chart("Momentum", 0.8, 1, [0.8, 0.85, 0.9, 0.95, 1], 2);
  const handle = svg("circle", { class: "mv-handle", r: 9 });
  const grip = svg("circle", { class: "mv-grip", r: 24 }); // what a finger can hold
  rates.picture.append(handle, grip);
  rates.across.setAttribute("d", rates.lineOf([data.constant, data.constant]));
  momenta.across.setAttribute("d", momenta.lineOf([data.constantMomentum, data.constantMomentum]));
  const told = words();
  const share = slider(
    "Peak after",
    {
      least: LEAST_SHARE, most: MOST_SHARE, value: 100 * data.share,
      words: (v) => `${v}\u00a0%`,
    },
    (value) => {
      now.share = value / 100;
      show();
    },
  );
  const peak = slider(
    "Peak rate",
    {
      least: 1, most: STEPS, value: STEPS / HIGHEST,
      words: (v) => ((v / STEPS) * most).toPrecision(2),
    },
    (value) => {
      now.peak = (value / STEPS) * most;
      show();
    },
  );
  const reset = button("Reset", () => {
    Object.assign(now, { share: data.share, peak: data.peak });
    follow();
  });

  function follow() {
    share.set(Math.round(100 * now.share));
    peak.set(Math.round((now.peak / most) * STEPS));
    show();
  }

  grip.addEventListener("pointerdown", (event) => {
    grip.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  grip.addEventListener("pointermove", (event) => {
    if (!grip.hasPointerCapture(event.pointerId)) return;
    const box = rates.picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const y = ((event.clientY - box.top) / box.height) * HEIGHT;
    const part = (x - LEFT) / (WIDTH - LEFT - RIGHT);
    const rate = ((HEIGHT - BOTTOM - y) / (HEIGHT - TOP - BOTTOM)) * most;
    now.share = within(Math.round(100 * part), LEAST_SHARE, MOST_SHARE) / 100;
    now.peak = (within(Math.round((rate / most) * STEPS), 1, STEPS) / STEPS) * most;
    follow();
  });

  function show() {
    const places = Array.from({ length: POINTS + 1 }, (_, i) => (i / POINTS) * (now.total - 1));
    const points = places.map((step) => oneCycle(now, step));
    set(rates.curve, { d: rates.lineOf(points.map((one) => one.rate)) });
    set(momenta.curve, { d: momenta.lineOf(points.map((one) => one.momentum)) });
    const turn = turningPoint(now);
    for (const circle of [handle, grip]) {
      set(circle, { cx: rates.x(turn / (now.total - 1)), cy: rates.y(now.peak) });
    }
    const [first, last] = [oneCycle(now, 0), oneCycle(now, now.total - 1)];
    const mean = meanRate(now);
    const epochs = ((turn + 1) / now.total) * data.epochs;
    told.textContent =
      `Warm-up, for ${epochs.toFixed(1)} of ${data.epochs} epochs: the rate rises from ` +
      `${short(first.rate)} to ${short(now.peak)}, while momentum falls from ${first.momentum} ` +
      `to ${now.low}. ` +
      `Annealing, for the other ${(data.epochs - epochs).toFixed(1)}: the rate falls almost to ` +
      `zero, momentum rises back to ${last.momentum.toFixed(2)}. The mean rate is ` +
      `${short(mean)}, ${signed((100 * mean) / data.constant, 0)}\u00a0% of the constant ` +
      `${data.constant} (the line across) of the stage before.`;
    const marks = `${short(now.peak)} at the peak, ${short(last.rate)} at the end`;
    const label = `Learning rate over the epochs: ${short(first.rate)} at the start, ${marks}`;
    set(rates.picture, { "aria-label": label });
  }

  /**
   * @param {string} title @param {number} low @param {number} high @param {number[]} marks
   * @param {number} digits behind the point, at most
   */
  function chart(title, low, high, marks, digits) {
    const x = (/** @type {number} */ part) => LEFT + part * (WIDTH - LEFT - RIGHT);
    const y = (/** @type {number} */ value) =>
      HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const curve = svg("path", { class: "mv-curve" });
    const across = svg("path", { class: "mv-across" });
    const box = `0 0 ${WIDTH} ${HEIGHT}`;
    const label = `${title} over the epochs`;
    const picture = svg("svg", { viewBox: box, role: "img", "aria-label": label });
    for (const mark of marks) {
      picture.append(
        svg("line", {
          class: "mv-grid-line", x1: LEFT, x2: WIDTH - RIGHT, y1: y(mark), y2: y(mark),
        }),
        svg(
          "text",
          { x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" },
          mark.toFixed(digits).replace(/(\.\d\d)0+$/, "$1"),
        ),
      );
    }
    const step = Math.max(1, Math.ceil(data.epochs / 5));
    for (let epoch = 0; epoch <= data.epochs; epoch += step) {
      const place = { x: x(epoch / data.epochs), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" };
      picture.append(svg("text", place, `${epoch}`));
    }
    const below = { x: x(0.5), y: HEIGHT - 4, "text-anchor": "middle" };
    picture.append(svg("text", below, "epoch"), across, curve);
    /** @param {number[]} values evenly over the whole training */
    const lineOf = (values) =>
      values
        .map((value, i) => [x(i / (values.length - 1)), y(value)])
        .map(([across, down], i) => `${i ? "L" : "M"}${across.toFixed(1)} ${down.toFixed(1)}`)
        .join("");
    const element = make("div", {}, make("p", { class: "mv-title" }, title), picture);
    return { element, picture, curve, across, x, y, lineOf };
  }

  follow();
  return [
    make("div", { class: "mv-controls" }, share.element, peak.element, reset),
    make("div", { class: "mv-panels" }, rates.element, momenta.element),
    make("p", { class: "mv-facts" }, "Drag the dot, or use the sliders."),
    told,
  ];
}, ["rate", "momentum"]);

/** Two leading digits, and never an exponent. @param {number} rate */
function short(rate) {
  return rate.toFixed(1 - Math.floor(Math.log10(rate)));
}
