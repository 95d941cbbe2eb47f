// @ts-check
/** Drawings of trainings: their curves, and all networks by parameters and accuracy. */

import { make } from "../elements.js";
import { chart } from "./chart.js";
import { accuracyOf, inPercent, together } from "./results.js";

/** @typedef {import("./keeping.js").Run} Run */
/** @typedef {import("./keeping.js").Network} Network */
/** @typedef {import("./views.js").Judgement} Judgement */
/** @typedef {import("./results.js").Way} Way */

/**
 * The site's own networks, which are drawn beside the reader's.
 * @typedef {{stages: Recorded[], frontier: {label: string, parameters: number,
 *   seeds: number, oneView: number | null, nineViews: number | null}[]}} Records
 * @typedef {{number: number, title: string, parameters: number, seed: number, train: number[],
 *   test: number[], loss: [number, number][]}} Recorded
 */

const CHANCE = Math.log(10); // the loss of who knows nothing

/**
 * The record that is drawn over: the reader's choice; otherwise that of the stage with as many
 * parameters, and for stage 3, which stands still at first, stage 4's, which does not.
 * @param {Recorded[]} stages @param {number | null} over the stage chosen; null: none was
 * @param {number | null} parameters of the reader's network
 * @returns {Recorded | null}
 */
export function recordedOver(stages, over, parameters) {
  if (over !== null) return stages.find(({ number }) => number === over) ?? null;
  const same = stages.find((stage) => stage.parameters === parameters);
  if (!same) return null;
  return same.number === 3 ? stages.find(({ number }) => number === 4) ?? null : same;
}

/**
 * Loss and accuracy of a training, with a recorded one beside it.
 * @param {Network | null} network @param {Recorded | null} recorded
 * @param {number} target in percent
 */
export function curves(network, recorded, target) {
  const epochs = Math.max(network?.design.recipe.epochs ?? 0, recorded?.test.length ?? 0);
  const every = epochs > 8 ? 2 : 1;
  const marks = Array.from({ length: epochs }, (_, i) => i + 1).filter((one) => one % every === 0);
  const x = { from: 0, to: epochs, marks };
  const own = network?.losses ?? [];
  const other = recorded?.loss ?? [];
  const name = recorded ? `stage ${recorded.number}` : "";
  const loss = figureOf(
    chart({
      words: `Training loss by step. ${ofCurve("Yours", own)} ${ofCurve(name, other)}`,
      x,
      y: { from: 0.01, to: 4, log: true, marks: [0.01, 0.03, 0.1, 0.3, 1, 2.3] },
      series: [
        { label: name, kind: "other", points: other },
        { label: own.length ? "yours" : "", kind: "own", points: own },
      ],
      line: CHANCE,
    }),
    "Training loss by step over the epochs, on a logarithmic axis. Dashed: −log(1/10), the loss of " +
      "who knows nothing.",
  );
  const by = (/** @type {number[]} */ values) =>
    /** @type {[number, number][]} */ (values.map((value, i) => [i + 1, 100 - value]));
  const done = network?.run.epochs ?? [];
  const validation = done.map(({ oneView }) => accuracyOf(oneView));
  const last = done.at(-1);
  const training = done.map(({ trained }) => accuracyOf(trained));
  const accuracy = figureOf(
    chart({
      words: `Accuracy by epoch. ${ofAccuracies("Yours, validation", validation, last?.oneView)} ${ofAccuracies("yours, training", training)} ${ofAccuracies(name, recorded?.test ?? [])}`,
      x,
      y: errors(100),
      series: [
        { label: name && `${name}, test`, kind: "other", points: by(recorded?.test ?? []) },
        { label: "training", kind: "site", points: by(training) },
        { label: "validation", kind: "own", points: by(validation) },
      ],
      line: 100 - target,
    }),
    ["Accuracy in percent over the epochs. Yours: 55,000 images train, 5,000 validate, each judged " +
      "by one view.",
      last && `Validation after epoch ${done.length}: ${inPercent(last.oneView)}; ± is the standard error.`,
      recorded && `Stage ${recorded.number}: its record with seed ${recorded.seed}, trained on all ` +
        "60,000 and judged on the test images by one view.",
      `Dashed: ${target} %.`].filter(Boolean).join(" "),
  );
  return [loss, accuracy];
}

/**
 * Own designs as dots beside the site's.
 * @param {Run[]} runs @param {Records} records @param {number} target in percent
 */
export function frontier(runs, records, target) {
  /** @type {Map<string, Run[]>} */
  const designs = new Map();
  for (const run of runs) designs.set(run.design, [...(designs.get(run.design) ?? []), run]);
  const site = records.frontier;
  const own = [...designs.values()].map((of) => ownPoint(of));
  const all = [...site.map(({ parameters }) => parameters), ...own.map(({ parameters }) => parameters)];
  /** @param {any} one @param {Way} way @returns {[number, number][]} */
  const at = (one, way) => (one[way] === null ? [] : [[one.parameters, 100 - one[way]]]);
  const ways = /** @type {Way[]} */ (["oneView", "nineViews"]);
  const series = ways.flatMap((way) => {
    const isNine = way === "nineViews";
    return [
      ...site.map((one) => ({ label: one.label.replace("stage ", ""), kind: "site", points: at(one, way), dots: true, open: isNine })),
      ...own.map((one) => ({ label: isNine ? "" : one.label, kind: "own", points: at(one, way), dots: true, open: isNine })),
    ];
  });
  const words = own.map((one) => one.words);
  const least = Math.min(...all), most = Math.max(...all);
  const marks = [500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000];
  return [
    chart({
      words: `Parameters and accuracy of networks. ${words.join("; ")}.`,
      x: {
        from: least / 1.3, to: most * 1.3, log: true,
        marks: marks.filter((mark) => mark > least / 1.3 && mark < most * 1.3),
        text: (value) => value.toLocaleString("en"),
      },
      y: errors(1.2 * Math.max(...series.flatMap(({ points }) => points.map(([, error]) => error)))),
      series: /** @type {any} */ (series),
      right: 90,
      line: 100 - target,
    }),
    make(
      "figcaption", {},
      "Accuracy in percent over parameters. Dots: judged by one view of each image; rings: by nine. The site’s networks, numbered by " +
        "their stages, are means over seeds on the test images. Yours are means over your runs, on " +
        "the validation images until you have opened the test set for them.",
    ),
  ];
}

/** Means over a design's runs, on the test where all were opened. @param {Run[]} runs */
function ownPoint(runs) {
  const isTest = runs.every(({ test }) => test);
  /** @param {Way} way */
  const mean = (way) => {
    return together(runs.map(({ test, epochs }) => {
      const judged = isTest ? test : /** @type {Run["epochs"][0]} */ (epochs.at(-1));
      return /** @type {Judgement} */ (judged?.[way]); // a last epoch has both
    }));
  };
  const label = isTest ? "yours" : "yours, validation";
  const { parameters } = runs[0];
  const [one, nine] = [mean("oneView"), mean("nineViews")];
  const words = `${label}: ${parameters} parameters, ${inPercent(one)} by one view, ${inPercent(nine)} by nine`;
  return { label, parameters, oneView: accuracyOf(one), nineViews: accuracyOf(nine), words };
}

/** An axis of accuracies, by the share that is read wrongly. @param {number} most in percent */
function errors(most) {
  const all = most > 4 ? [0.5, 1, 2, 5, 10, 20, 50, 90] : [0.5, 0.6, 0.8, 1, 1.5, 2, 3];
  const marks = all.filter((mark) => mark <= most);
  return { from: most, to: 0.4, log: true, marks, text: (/** @type {number} */ mark) => `${100 - mark}` };
}

/** @param {SVGElement} svg @param {string} caption */
function figureOf(svg, caption) {
  const figure = make("figure", { class: "lt-chart" });
  figure.append(svg);
  if (caption) figure.append(make("figcaption", {}, caption));
  return figure;
}

/** @param {string} name @param {[number, number][]} points */
function ofCurve(name, points) {
  if (!points.length) return "";
  const [first, last] = [points[0][1], /** @type {[number, number]} */ (points.at(-1))[1]];
  return `${name}: from ${first} to ${last}.`;
}

/** @param {string} name @param {number[]} values @param {Judgement} [last] of them, with its error */
function ofAccuracies(name, values, last) {
  if (!values.length) return "";
  const end = last ? inPercent(last) : `${values[values.length - 1].toFixed(2)} %`;
  return `${name}: from ${values[0].toFixed(2)} % to ${end}.`;
}
