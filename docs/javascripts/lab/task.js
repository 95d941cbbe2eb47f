// @ts-check
/**
 * In class: a link that asks for something. The reader sees what; an instructor makes such links.
 */

import { make } from "../elements.js";
import { analyze } from "./analysis.js";
import { ASSIGNMENT, TASK, count, isWritable, range, within } from "./design.js";
import { write } from "./fragment.js";
import { button, numberIn } from "./rows.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./design.js").Row} Row */

/**
 * What the link asks for, above the design.
 * @param {HTMLElement} place @param {(layers: Row[]) => void} restart with the link's own layers
 * @returns {{show: (design: Design) => void}}
 */
export function mountTask(place, restart) {
  place.className = "lab-task";
  return {
    show({ task, recipe }) {
      place.hidden = !task;
      if (!task) return;
      const words = make(
        "p", {},
        make("strong", {}, "Your task: "),
        `fewer than ${count(task.budget)} parameters, ${task.target} % of the test digits or more.`,
      );
      place.replaceChildren(words);
      const { start } = task;
      if (!start) return;
      const { parameters, rows } = analyze({ layers: start, recipe });
      words.append(` It starts from ${rows.length} layers with ${count(parameters)} parameters. `);
      words.append(button("Back to the start", () => restart(start)));
    },
  };
}

/**
 * The form for instructors: budget, target, and the present design to start from.
 * @param {HTMLElement} place @param {() => Design} design the present one
 * @param {(text: string) => void} copy
 */
export function mountTaskForm(place, design, copy) {
  const budget = field("budget", ASSIGNMENT.budget, "fewer parameters than");
  const target = field("target", ASSIGNMENT.target, "accuracy in percent, at least");
  const link = make("input", { id: "lab-task-link", readonly: "", type: "text" });
  const problem = make("p", { class: "lab-note is-fatal", role: "status" });
  const makeLink = button("Make the link", () => {
    if (!isWritable(design())) {
      problem.textContent = "The design above has a number out of its limits: mend it first.";
      return;
    }
    const task = { budget: numberIn(budget.input), target: numberIn(target.input), start: design().layers };
    const wrong = Object.entries(TASK).find(([name, limits]) => {
      return !within(task[/** @type {"budget"} */ (name)], limits);
    });
    problem.textContent = wrong ? `${wrong[1].words}: ${range(wrong[1])}` : "";
    output.hidden = Boolean(wrong);
    if (wrong) return;
    link.value = new URL(`#${write({ ...design(), task })}`, location.href).href;
    link.focus();
    link.select();
  });
  const copyIt = button("Copy", () => copy(link.value));
  const output = make("p", { hidden: "" }, make("label", { for: link.id }, "Give this out"), link, copyIt);
  place.append(
    make("summary", {}, "For a class: a link with a task"),
    make("p", {}, "Whoever opens it starts from the design above, and sees what you ask for."),
    budget.line, target.line, make("p", {}, makeLink), problem, output,
  );
}

/** @param {string} name @param {number} value @param {string} words */
function field(name, value, words) {
  const id = `lab-task-${name}`;
  const { least, most, step = 1 } = TASK[name];
  const input = make("input", { id, type: "number", inputmode: "decimal", value: `${value}` });
  Object.assign(input, { min: least, max: most, step });
  return { input, line: make("p", {}, make("label", { for: id }, words), input) };
}
