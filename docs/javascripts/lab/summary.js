// @ts-check
/**
 * The design as a whole: its budget, its field, what is wrong with it, and its picture.
 */

import { make } from "../elements.js";
import { ASSIGNMENT, SIDE, count } from "./design.js";
import { picture } from "./picture.js";
import { button } from "./rows.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./design.js").Analysis} Analysis */
/** @typedef {import("./design.js").Facts} Facts */

/** @param {HTMLElement} place @param {() => void} train what leads to the training */
export function mountSummary(place, train) {
  const budget = measure("lab-budget");
  const field = measure("lab-field");
  const words = make("span", {});
  const go = button("Train it", train);
  const verdict = make("p", { class: "lab-verdict" }, words, " ", go);
  const warnings = make("ul", { class: "lab-warnings" });
  const shown = make("div", { class: "lab-network" });
  const legend = make("p", { class: "lab-quiet" }, "Maps to scale, one sheet for each channel; below, the parameters as an area.");
  place.append(make("div", { class: "lab-measures" }, budget.element, field.element), verdict, warnings, shown);

  /** @param {Design} design @param {Analysis} analysis */
  function show({ task }, { rows, names, parameters, multiplications, problems }) {
    const working = /** @type {Facts[]} */ (rows.filter(Boolean));
    const broken = names[working.length]; // the first layer that cannot work, if there is one
    const known = broken ? [] : working;
    const most = task?.budget ?? ASSIGNMENT.budget;
    const asked = broken ? `, unknown until ${broken} is right` : `; fewer than ${count(most)} are asked for`;
    budget.show(
      [make("strong", {}, broken ? "–" : count(parameters)), ` parameters${asked}`],
      known.filter((row) => row.parameters).map((row) => [row.name, row.parameters]),
      most,
      Math.max(most, parameters),
    );
    budget.element.classList.toggle("is-over", !broken && parameters >= most);
    const size = known.at(-1)?.size ?? 1;
    const seen = make("strong", {}, broken ? "–" : `${size}×${size}`);
    /** @type {[string, number][]} each layer's share of the last field */
    const grown = known.map((row, i) => [row.name, row.size - (known[i - 1]?.size ?? 0)]);
    const of = broken ? `, unknown until ${broken} is right` : ` pixels of ${SIDE}×${SIDE}`;
    field.show(
      ["A unit at the end sees ", seen, of],
      grown.filter(([, more]) => more > 0),
      SIDE,
      Math.max(SIDE, size),
    );
    field.element.classList.toggle("is-over", !broken && size < SIDE);

    const fatal = problems.filter((one) => one.fatal);
    const general = problems.filter((one) => !one.fatal && one.row === null);
    const atRows = problems.filter((one) => !one.fatal && one.row !== null).length;
    const work = `${count(multiplications)} multiplications for one image`;
    words.textContent = fatal.length ? "This cannot be trained yet:" : `This can be trained: ${work}.`;
    verdict.classList.toggle("is-fatal", fatal.length > 0);
    go.hidden = fatal.length > 0;
    const lines = [...fatal, ...general].map(({ row, text, fatal }) => {
      const where = row === null ? "" : `${names[row]}, `;
      return make("li", fatal ? { class: "is-fatal" } : {}, `${where}${text}`);
    });
    if (atRows) {
      const hints = atRows === 1 ? "One hint stands" : `${atRows} hints stand`;
      lines.push(make("li", {}, `${hints} beside the layers below`));
    }
    warnings.replaceChildren(...lines);
    warnings.hidden = !lines.length;
    shown.replaceChildren(picture(rows), legend);
  }

  return { show };
}

/** A sentence, and a bar of parts with a mark at what it is held against. @param {string} id */
function measure(id) {
  const text = make("p", { id });
  const bar = make("div", { class: "lab-bar", "aria-hidden": "true" });
  const element = make("div", { class: "lab-measure" }, text, bar);
  return {
    element,
    /** @param {(Node | string)[]} words @param {[string, number][]} parts @param {number} mark @param {number} scale */
    show(words, parts, mark, scale) {
      text.replaceChildren(...words);
      bar.replaceChildren(
        ...parts.map(([name, value]) => {
          const part = make("span", { title: `${name}: ${count(value)}` });
          part.style.width = `${(100 * value) / scale}%`;
          return part;
        }),
      );
      bar.style.setProperty("--mark", `${(100 * mark) / scale}%`);
    },
  };
}
