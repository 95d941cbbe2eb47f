// The explorer's calculator beside the Python one: `node --test` runs this, test_explorer.py too.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { analyze, seenBy } from "../../docs/javascripts/explorer/network.js";

const cases = JSON.parse(readFileSync(new URL("receptive_field_cases.json", import.meta.url)));

test("both calculators agree on every network", () => {
  cases.forEach(({ input_shape, steps, layers, refused_at }, number) => {
    const found = analyze(steps, input_shape);
    assert.equal(found.problem !== null, refused_at !== undefined, `case ${number}`);
    const described = found.layers.map((layer, i) => ({
      output_shape: layer.output_shape,
      ...found.measures[i],
      units: layers[i].units.map(({ unit }) => {
        const { box, pixels } = seenBy(found.layers.slice(0, i + 1), input_shape, ...unit);
        return { unit, box, pixels };
      }),
    }));
    assert.deepEqual(described, layers, `case ${number}`);
  });
});
