// @ts-check
/**
 * Two stages side by side: what the reader picks, and what is shown of it.
 *
 * All that is compared stands in the page as data, made by mnist_steps/pages/comparison.py, so the page
 * works from a folder too. The two numbers are kept in the address: a comparison can be linked.
 */

import { curves } from "./curves.js";
import { difference } from "./diff.js";
import { make, table } from "../elements.js";
import { letReadersSort } from "./stages.js";

/**
 * @typedef {{number: number, title: string, facts: Record<string, number | null>,
 *            study: {text: string, mean: number[], low: number[], high: number[]} | null,
 *            recipe: Record<string, string>, source: string, layers: string[][],
 *            seed: number, test: number[], wrong: [number, number][]}} Stage
 *   `facts`: null for what there is none of, such as the original's figure of a stage of our own
 *   `seed`, `test`, `wrong`: of its record, all made with one seed; accuracy after each epoch
 *   `wrong`: digits as places on the sheet, and what they were taken for
 *
 * @typedef {{columns: string[], stages: Stage[], chance: Record<string, number>,
 *            digits: [number, number][], sheet: {columns: number, side: number}}} Content
 *   `chance`: how often two equally good networks would differ as much, by pair: "3-8"
 *   `digits`: of each digit on the sheet, its place in the test set and its label
 */

/** What is compared first: one network, trained without and with a schedule. */
const OPENS_ON = ["7", "8"];

const place = /** @type {HTMLElement} */ (document.querySelector("[data-compare]"));
const sheet = /** @type {HTMLImageElement} */ (document.getElementById("compare-digits"));
/** @type {Content} */
const content = JSON.parse(document.getElementById("compare-data")?.textContent ?? "{}");

const a = picker("First stage");
const b = picker("Second stage");
const result = make("div", { class: "compare-result" });
const announced = make("p", { class: "compare-announced", role: "status" });

start();

function start() {
  const swap = make("button", { type: "button", class: "md-button" }, "Swap");
  swap.addEventListener("click", () => {
    [a.select.value, b.select.value] = [b.select.value, a.select.value];
    show();
  });
  place.replaceChildren(make("div", { class: "compare-pickers" }, a.label, b.label, swap), announced, result);
  readAddress();
  a.select.addEventListener("change", show);
  b.select.addEventListener("change", show);
  addEventListener("popstate", () => {
    readAddress();
    show(false);
  });
  show(false);
  const all = document.querySelector("[data-stages]");
  if (all instanceof HTMLElement) letReadersSort(all);
}

/** @param {string} text */
function picker(text) {
  const options = content.stages.map(({ number, title }) => new Option(`${number}. ${title}`, `${number}`));
  const select = make("select", {}, ...options);
  return { select, label: make("label", {}, make("span", {}, text), select) };
}

/** Numbers from the address, where they exist; otherwise those of OPENS_ON, else the last two stages. */
function readAddress() {
  const asked = new URLSearchParams(location.search);
  const numbers = content.stages.map((stage) => String(stage.number));
  [a, b].forEach(({ select }, i) => {
    const number = asked.get(i ? "b" : "a") ?? "";
    select.value = [number, OPENS_ON[i], numbers.at(i - 2) ?? numbers[0]].find((one) => numbers.includes(one)) ?? "";
  });
}

/** @param {unknown} picked false when the address already says what is picked */
function show(picked = true) {
  const [first, second] = [a, b].map(({ select }) => stageOf(Number(select.value)));
  if (picked !== false) {
    const address = new URL(location.href);
    address.searchParams.set("a", String(first.number));
    address.searchParams.set("b", String(second.number));
    history.replaceState(null, "", address);
    announced.textContent = `Stage ${first.number} beside stage ${second.number}.`;
  }
  result.replaceChildren(
    make("div", { class: "compare-pair" }, facts(first, second), recipes(first, second)),
    section("Training", chart(first, second)),
    section("The code", code(first, second)),
    section("Layer by layer", make("div", { class: "compare-pair compare-layers" }, layers(first), layers(second))),
    section("Digits that only one of them reads", ...digits(first, second)),
  );
}

/** @param {number} number */
function stageOf(number) {
  return /** @type {Stage} */ (content.stages.find((stage) => stage.number === number));
}

/** @param {string} title @param {Node[]} parts */
function section(title, ...parts) {
  return make("section", {}, make("h2", {}, title), ...parts);
}

// --- Figures and recipe -----------------------------------------------------------------------

/** @param {Stage} first @param {Stage} second */
function facts(first, second) {
  /** @type {string[][]} */
  const rows = [];
  for (const [name, value] of Object.entries(first.facts)) {
    const other = second.facts[name];
    if (value === null && other === null) continue;
    const both = value !== null && other !== null;
    rows.push([name, inDigits(value), inDigits(other), both ? change(value, other) : ""]);
  }
  if (first.study || second.study) {
    rows.push(["study, final epoch", first.study?.text ?? "–", second.study?.text ?? "–", ""]);
  }
  return table("Accuracies in percent.", ["", ...names(first, second), "change"], rows);
}

/** @param {number | null} value */
function inDigits(value) {
  if (value === null) return "–";
  return Number.isInteger(value) && value > 100 ? value.toLocaleString("en") : value.toFixed(2);
}

/** Counts change by a factor, accuracies by points. @param {number} from @param {number} to */
function change(from, to) {
  if (from === to) return "same";
  const isCount = from > 100;
  const sign = to > from ? "+" : "−";
  if (!isCount) return `${sign}${Math.abs(to - from).toFixed(2)}`;
  return to > from ? `× ${(to / from).toPrecision(3)}` : `÷ ${(from / to).toPrecision(3)}`;
}

/** @param {Stage} first @param {Stage} second */
function recipes(first, second) {
  const rows = Object.entries(first.recipe).map(([name, value]) => [name, value, second.recipe[name]]);
  const differing = rows.filter(([, one, other]) => one !== other).length;
  const caption = differing
    ? `Recipes: ${differing} of ${rows.length} parts differ.`
    : "Recipes: all parts are the same.";
  const classOf = (/** @type {string[]} */ [, one, other]) => (one === other ? "is-same" : "is-different");
  return table(caption, ["", ...names(first, second)], rows, classOf);
}

/** @param {Stage[]} stages */
function names(...stages) {
  return stages.map((stage) => `stage ${stage.number}`);
}

// --- Curves, code, layers -----------------------------------------------------------------------

/** @param {Stage} first @param {Stage} second */
function chart(first, second) {
  const studied = [first, second].filter((stage) => stage.study).map((stage) => stage.number);
  const note = studied.length
    ? `Lines: one run of each, with seed ${first.seed}. Bands: from the lowest to the highest of all seeds of the study, for stage${studied.length > 1 ? "s" : ""} ${studied.join(" and ")}; dashed: their mean.`
    : `One run of each, with seed ${first.seed}. Other seeds would give other lines.`;
  const figure = make("figure", { class: "compare-curves" });
  figure.append(curves([first, second], place.clientWidth || 720), make("figcaption", {}, note));
  return figure;
}

/** @param {Stage} first @param {Stage} second */
function code(first, second) {
  const lines = difference(first.source.split("\n"), second.source.split("\n"));
  if (lines.every(({ sign }) => sign === " ")) {
    return make("p", {}, "Both stages train the very same network.");
  }
  const kinds = { " ": "", "-": "gd", "+": "gi" };
  const shown = lines.map(({ sign, line }) => make("span", { class: kinds[sign] }, `${sign} ${line}\n`));
  // The theme lets the code scroll, not what is around it.
  const attributes = { tabindex: "0", role: "group", "aria-label": "Difference of the networks' code" };
  const pre = make("pre", {}, make("code", attributes, ...shown));
  return make("div", { class: "highlight package-source" }, pre);
}

/** @param {Stage} stage */
function layers({ number, title, layers: rows }) {
  return table(`Stage ${number}: ${title}`, content.columns, rows);
}

// --- Digits -------------------------------------------------------------------------------------

/** @param {Stage} first @param {Stage} second @returns {HTMLElement[]} */
function digits(first, second) {
  const [one, other] = [first, second].map((stage) => new Map(stage.wrong));
  const onlyFirst = first.wrong.filter(([digit]) => !other.has(digit));
  const onlySecond = second.wrong.filter(([digit]) => !one.has(digit));
  const both = first.wrong.length - onlyFirst.length;
  const counts = [
    `${onlyFirst.length} only by stage ${first.number}`,
    `${onlySecond.length} only by stage ${second.number}`,
    `${both} by both`,
  ];
  const summary = make("p", {}, `Misread: ${counts.join(", ")}. ${chanceInWords(first, second)}`);
  return [
    summary,
    gallery(`Stage ${second.number} reads these, stage ${first.number} does not`, onlyFirst),
    gallery(`Stage ${first.number} reads these, stage ${second.number} does not`, onlySecond),
  ];
}

/** @param {Stage} first @param {Stage} second */
function chanceInWords(first, second) {
  if (first === second) return "";
  const [low, high] = [first.number, second.number].sort((x, y) => x - y);
  const chance = content.chance[`${low}-${high}`];
  const percent = 100 * chance;
  const share = percent < 0.1 ? "less than 0.1" : percent.toPrecision(2);
  const verdict =
    chance < 0.05 ? "chance alone seldom does that" : "that is no proof that one of them is better";
  return `Two networks that are equally good would differ at least as much on ${share} % of such test sets (McNemar's exact test): ${verdict}.`;
}

/** @param {string} title @param {[number, number][]} wrong */
function gallery(title, wrong) {
  const items = wrong.map(([index, taken]) => {
    const [position, label] = content.digits[index];
    const caption = make("span", {}, `${label} as ${taken}`);
    return make("li", { title: `test digit ${position}` }, cut(index), caption);
  });
  const list = make("ul", { role: "list" }, ...items);
  const details = make("details", { class: "compare-digits" }, make("summary", {}, `${title}: ${wrong.length}`), list);
  details.open = wrong.length > 0 && wrong.length <= 60;
  return details;
}

/** A digit cut from the sheet. @param {number} index */
function cut(index) {
  const { columns, side } = content.sheet;
  const canvas = make("canvas", { width: `${side}`, height: `${side}`, "aria-hidden": "true" });
  const [left, top] = [side * (index % columns), side * Math.floor(index / columns)];
  sheet.decode().then(() => {
    canvas.getContext("2d")?.drawImage(sheet, left, top, side, side, 0, 0, side, side);
  });
  return canvas;
}
