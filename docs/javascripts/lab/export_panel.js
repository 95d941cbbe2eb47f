// @ts-check
/**
 * Taking the network along: a submission for the course, and trained weights.
 */

import { make } from "../elements.js";
import { analyze, networkOf } from "./analysis.js";
import { keyOf } from "./fragment.js";
import { resultOf } from "./results.js";
import { button } from "./rows.js";
import { modelFile, recipeFile, reportFile, weightsFile } from "./submission.js";
import { zip } from "./zip.js";

/** @typedef {import("./design.js").Design} Design */
/** @typedef {import("./keeping.js").Run} Run */
/** @typedef {import("./training_panel.js").Trained} Trained */

/**
 * @param {HTMLElement} place @param {() => Design} design the present one
 * @param {{trained: () => Trained | null, runs: () => Run[]}} panel the last network that was, and
 *   all runs of the present design
 * @param {(text: string) => void} announce
 * @returns {{show: () => void}} call it when one of the two changed
 */
export function mountExport(place, design, { trained, runs }, announce) {
  const submission = button("Submission (zip)", () => {
    const files = {
      "model.py": modelFile(design()),
      "recipe.toml": recipeFile(design()),
      "REPORT.md": reportFile(design(), measured(runs(), design().recipe)),
    };
    save("submission.zip", "application/zip", zip(files));
  });
  const weights = button("Weights (safetensors)", () => {
    const found = ofThis();
    if (!found) return;
    const file = weightsFile(networkOf(found.design), found.weights, batchesOf(found));
    save("weights.safetensors", "application/octet-stream", file);
  });
  const note = make("p", { class: "lab-quiet", id: "lab-export-note" });
  for (const one of [submission, weights]) one.setAttribute("aria-describedby", note.id);
  place.append(make("p", { class: "lab-actions" }, submission, weights), note);

  /** What was trained, if its layers are still the design's. */
  function ofThis() {
    const found = trained();
    return found && keyOf(found.design) === keyOf(design()) ? found : null;
  }

  /** @param {string} name @param {string} type @param {Uint8Array} bytes */
  function save(name, type, bytes) {
    const address = URL.createObjectURL(new Blob([/** @type {BlobPart} */ (bytes)], { type }));
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    announce(`${name} was made.`);
  }

  function show() {
    const fatal = analyze(design()).problems.some((one) => one.fatal);
    submission.disabled = fatal;
    weights.disabled = fatal || !ofThis();
    if (fatal) note.textContent = "What cannot be trained cannot be handed in: see what the design says above.";
    else if (weights.disabled) note.textContent = "There are weights once this design and recipe were trained.";
    else note.textContent = "The weights are those of the last run.";
  }

  return { show };
}

/** How many batches the weights have seen. @param {Trained} trained */
function batchesOf({ run, design }) {
  return run.epochs.reduce((sum, { trained }) => {
    return sum + Math.ceil(trained.images / design.recipe.batchSize);
  }, 0);
}

/**
 * What the Lab measured of a design, for its report.
 * @param {Run[]} runs @param {import("./design.js").Recipe} recipe
 */
function measured(runs, recipe) {
  if (!runs.length) return [];
  const way = recipe.testShifts ? "the mean of nine shifted views" : "one view of each image";
  return [
    `In the Lab, after the last epoch; ± is the standard error. The recipe judges by ${way}.`,
    runs.map((run) => `- ${resultOf(run, recipe)}`).join("\n"),
  ];
}
