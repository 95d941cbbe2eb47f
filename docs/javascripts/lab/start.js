// @ts-check
/**
 * The Lab: one design, kept in the page's fragment, and the parts of the page that show it.
 *
 * Each edit is an entry of the browser's history. So the back button undoes, the address shares,
 * and what was edited away is still there.
 */

import { make } from "../elements.js";
import { readJson } from "../playground/files.js";
import { analyze } from "./analysis.js";
import { RECIPE, isWritable } from "./design.js";
import { keyOf, read, write } from "./fragment.js";
import { mountExport } from "./export_panel.js";
import { mountRecipe } from "./recipe_form.js";
import { button, mountRows } from "./rows.js";
import { mountSummary } from "./summary.js";
import { mountTask, mountTaskForm } from "./task.js";
import { mount } from "./training_panel.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./design.js").Preset} Preset */
/** @typedef {{said: string, typing?: string}} What as in rows.js */

/** What the Lab begins with: it trains in less than a minute. */
const FIRST = "11";

/** @param {string} id */
const part = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

start().catch((error) => {
  part("lab-problem").textContent = `The Lab could not start: ${error.message}. Reload the page.`;
  part("lab-problem").hidden = false;
});

async function start() {
  /** @type {{presets: Preset[], digits: import("./recipe_form.js").Digit[]}} */
  const { presets, digits } = await readJson("presets.json");
  part("lab-root").classList.add("is-ready"); // all that follows comes before the next picture
  for (const { design } of presets) design.recipe = { ...RECIPE, ...design.recipe };

  /** @type {Design} */
  let design = copyOf(FIRST);
  /** How many edits lie behind the entry of the history that is shown. */
  let edits = history.state?.labEdits ?? 0;
  /** The field whose edits go on in one entry, until the focus leaves it. */
  let typing = /** @type {string | undefined} */ (undefined);
  /** @type {(() => void)[]} */
  const listeners = [];

  // --- The page's parts -----------------------------------------------------------------------

  const chosen = presets.map(({ id, title }) => {
    const one = button(id, () => usePreset(id));
    one.setAttribute("aria-label", title);
    one.title = title;
    return one;
  });
  const undo = button("Undo", goBack);
  const share = button("Copy the link", () => copy(location.href));
  const bar = make("div", { class: "lab-bar-of-buttons" });
  bar.append(
    make("div", { role: "group", "aria-label": "Begin with a stage" }, make("span", {}, "Begin with stage"), ...chosen),
    make("div", {}, undo, share),
  );
  const place = part("lab-design");
  place.append(bar);
  const summary = mountSummary(place, () => {
    part("lab-train").scrollIntoView();
    part("lab-train").querySelector("button")?.focus({ preventScroll: true });
  });
  const rows = mountRows(place, (layers, what) => change({ ...design, layers }, what));
  const recipe = mountRecipe(part("lab-recipe"), digits, (next, what) => change({ ...design, recipe: next }, what));
  const task = mountTask(part("lab-task"), (layers) => {
    change({ ...design, layers: layers.map((row) => ({ ...row })) }, { said: "Back at the start." });
  });
  mountTaskForm(part("lab-class"), () => design, copy);
  /** @type {{show: () => void} | null} */
  let taken = null;
  const panel = mount(part("lab-train"), part("lab-after"), {
    design: () => design,
    onChange: (callback) => listeners.push(callback),
    onTrained: () => taken?.show(),
    adopt: (next) => change({ ...next, task: design.task }, { said: "The design of the kept training." }),
  });
  taken = mountExport(part("lab-export"), () => design, panel, announce);

  // --- What the reader does -------------------------------------------------------------------

  /** @param {Design} next @param {What} what @param {string} [address] another than the design's own */
  function change(next, what, address) {
    design = next;
    if (isWritable(design)) remember(`#${address ?? write(design)}`, what.typing);
    complain("");
    const field = typing;
    show(); // rows that are built anew lose the focus for a moment
    typing = field;
    const fatal = analyze(design).problems.find((one) => one.fatal);
    announce([what.said, fatal && `Cannot be trained yet: ${fatal.text}.`].filter(Boolean).join(" "));
  }

  /** @param {string} address @param {string | undefined} field */
  function remember(address, field) {
    try {
      if (field && field === typing) {
        history.replaceState({ labEdits: edits }, "", address);
      } else {
        history.pushState({ labEdits: edits + 1 }, "", address);
        edits++;
      }
      typing = field;
    } catch {
      // Browsers take so many entries in half a minute and no more; the next edit has it all again.
    }
  }

  /** @param {string} id */
  function usePreset(id) {
    const next = { ...copyOf(id), ...(design.task && { task: design.task }) };
    const { title } = /** @type {Preset} */ (presets.find((one) => one.id === id));
    change(next, { said: `${title}.` }, design.task ? undefined : `preset=${id}`);
  }

  function goBack() {
    // What is no design yet has no entry: the last one that was is still the address.
    if (!isWritable(design)) follow("Undone.");
    else history.back();
  }

  addEventListener("popstate", () => follow("Another point of the history."));
  document.addEventListener("focusout", () => (typing = undefined));

  // --- Following the address ------------------------------------------------------------------

  /** @param {string} said */
  function follow(said) {
    typing = undefined;
    const fragment = location.hash.slice(1);
    if (fragment && document.getElementById(fragment)) {
      // A place on this page was jumped to: the address goes on holding the design.
      if (isWritable(design)) history.replaceState({ labEdits: edits }, "", `#${write(design)}`);
      return;
    }
    edits = history.state?.labEdits ?? 0;
    const found = read(fragment, presets);
    if (found.problem) {
      complain(`This address cannot be read: ${found.problem}. Below is what was there before.`);
      return;
    }
    complain("");
    design = found.design ?? copyOf(FIRST);
    show();
    announce(said);
  }

  /** @param {string} id @returns {Design} */
  function copyOf(id) {
    const found = read(`preset=${id}`, presets).design;
    if (!found) throw new Error(`there is no preset ${id}`);
    return found;
  }

  // --- Showing --------------------------------------------------------------------------------

  function show() {
    const analysis = analyze(design);
    rows.show(design, analysis);
    summary.show(design, analysis);
    recipe.show(design.recipe, analysis);
    task.show(design);
    undo.disabled = edits === 0 && isWritable(design);
    const now = isWritable(design) ? keyOf(design) : "";
    chosen.forEach((one, i) => {
      one.setAttribute("aria-pressed", String(now === keyOf(presets[i].design)));
    });
    for (const listener of listeners) listener();
    taken?.show();
  }

  /** @param {string} text nothing is wrong when it is empty */
  function complain(text) {
    part("lab-problem").textContent = text;
    part("lab-problem").hidden = !text;
  }

  /** @param {string} text */
  function announce(text) {
    part("lab-said").textContent = text;
  }

  /** @param {string} text */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      announce("The link was copied.");
    } catch {
      announce("This browser does not let pages copy: take the address of this page instead.");
    }
  }

  const { design: linked, problem } = read(location.hash, presets);
  const isPlace = document.getElementById(location.hash.slice(1)) !== null;
  if (linked) design = linked;
  if (problem && !isPlace) {
    complain(`This address cannot be read: ${problem}. Below is stage ${FIRST} instead.`);
  }
  show();
}
