// What the Lab says of designs, for tests in Python: what the page would show and hand out.
import { analyze, networkOf } from "../../docs/javascripts/lab/analysis.js";
import { RECIPE } from "../../docs/javascripts/lab/design.js";
import { read, write } from "../../docs/javascripts/lab/fragment.js";
import { modelFile, recipeFile, reportFile, weightsFile } from "../../docs/javascripts/lab/submission.js";
import { zip } from "../../docs/javascripts/lab/zip.js";
import { tensorsOf } from "../../docs/javascripts/engine/description.js";

const base64 = (bytes) => Buffer.from(bytes).toString("base64");

export function tell({ layers, recipe }) {
  const design = { layers, recipe: { ...RECIPE, ...recipe } };
  const analysis = analyze(design);
  const fragment = write(design);
  const again = read(fragment, []).design;
  const result = { analysis, fragment, sameAgain: JSON.stringify(again) === JSON.stringify(design) };
  if (analysis.problems.some(({ fatal }) => fatal)) return result;
  // Numbers that tell tensors and their places apart.
  const network = networkOf(design);
  const weights = Object.fromEntries(
    tensorsOf(network).map(({ name, size }, i) => {
      return [name, Float32Array.from({ length: size }, (_, at) => 1000 * i + at)];
    }),
  );
  const files = {
    "model.py": modelFile(design), "recipe.toml": recipeFile(design), "REPORT.md": reportFile(design),
  };
  return {
    ...result,
    network,
    model: files["model.py"],
    zip: base64(zip(files)),
    safetensors: base64(weightsFile(network, weights, 7)),
  };
}
