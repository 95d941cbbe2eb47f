// Addresses from strangers: `node --test` runs this, test_lab_design.py too.
import assert from "node:assert/strict";
import { test } from "node:test";

import { analyze, networkOf } from "../../docs/javascripts/lab/analysis.js";
import { MOST_LAYERS, RECIPE, isWritable } from "../../docs/javascripts/lab/design.js";
import { keyOf, read, write } from "../../docs/javascripts/lab/fragment.js";

const PRESETS = [{ id: "8", title: "Stage 8", design: { layers: [{ kind: "ReLU" }], recipe: RECIPE } }];
const GOOD = [
  "#lab=1&net=c10k3.n.r.m2.c10k12b&epochs=6&schedule=one-cycle&peak=0.3&shift=0.84",
  "#lab=1&net=c24k4s3p1.n.r.a2.g.c10k1b&rotate=7&crop=0.85&budget=6000&target=99.1&start=c3k3.r",
  "#preset=8&budget=900",
];
/** As the page writes them. */
const WRITTEN = GOOD.map((address) => write(read(address, PRESETS).design));
const SNIPPETS = [
  "&", "=", ".", "#", "%", "%00", "%F0%9F%92%A9", "\u202e", "net", "lab=2", "preset=8", "-1", "1e9", "NaN",
  "__proto__", "constructor", "999999999999", "c", "k", "0", "<img src=x onerror=alert(1)>", "javascript:",
];

/** Numbers that are the same in every run. */
function generator(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function damaged(text, number) {
  let result = text;
  for (let i = number(4); i >= 0; i--) {
    const at = number(result.length + 1), end = at + number(6);
    const put = SNIPPETS[number(SNIPPETS.length)];
    result = [
      result.slice(0, at) + put + result.slice(at),
      result.slice(0, at) + result.slice(end),
      result.slice(0, at) + String.fromCharCode(number(0x3000)) + result.slice(at + 1),
      result.slice(0, at) + result.slice(at, end).repeat(number(200)) + result.slice(end),
    ][number(4)];
  }
  return result;
}

test("a damaged or hostile address gives a design within its limits, or one short line", () => {
  const number = generator(20);
  let designs = 0, problems = 0;
  for (let i = 0; i < 30_000; i++) {
    const all = [...GOOD, ...WRITTEN];
    const address = damaged(all[i % all.length], number);
    const { design, problem } = read(address, PRESETS);
    if (design) {
      designs++;
      assert.ok(isWritable(design) && design.layers.length <= MOST_LAYERS, address);
      assert.deepEqual(read(write(design), PRESETS).design, design, address);
      const fatal = analyze(design).problems.some((one) => one.fatal);
      if (!fatal) assert.equal(networkOf(design).length, design.layers.length + 2);
    } else if (problem !== null) {
      problems++;
      assert.ok(problem.length < 160 && /^[ -~“”…]+$/.test(problem), problem);
    } else assert.equal(address.replace(/^#/, ""), "");
  }
  assert.ok(designs > 500 && problems > 10_000, `${designs} designs, ${problems} problems`);
});

test("an address that lost its end, or one sign, opens no other design", () => {
  for (const whole of WRITTEN) {
    for (let length = 1; length < whole.length; length++) {
      const { design, problem } = read(whole.slice(0, length), PRESETS);
      assert.ok(problem && !design, whole.slice(0, length));
    }
    assert.match(read(whole.slice(0, -1), PRESETS).problem, /checksum does not fit/);
    const [first, ...rest] = whole.split("net=");
    assert.match(read(`${first}net=r.${rest}`, PRESETS).problem, /checksum does not fit/);
  }
});

test("an address that was written by hand needs no checksum, nor does what trainings are kept under", () => {
  for (const whole of WRITTEN) {
    const design = read(whole, PRESETS).design;
    const byHand = whole.replace(/&sum=[^&]*/, "");
    assert.notEqual(byHand, whole);
    assert.deepEqual(read(byHand, PRESETS).design, design);
    assert.equal(keyOf(design), byHand.replace(/&budget=.*/, ""));
  }
});

test("what an address leaves out is as in version 1 for ever", () => {
  assert.deepEqual(read("lab=1&net=r", []).design, { layers: [{ kind: "ReLU" }], recipe: RECIPE });
  assert.deepEqual(RECIPE, {
    epochs: 15, batchSize: 64, learningRate: 0.01, momentum: 0.9, weightDecay: 0, schedule: "constant",
    peak: 0.1, rotation: 0, shift: 0, crop: 1, centerCrop: 0, testShifts: 0, shiftedEpochs: 1,
  });
});

test("a problem says what was found and what was expected", () => {
  const problemOf = (fragment) => read(fragment, PRESETS).problem;
  assert.match(problemOf("lab=2&net=r"), /later Lab/);
  assert.match(problemOf("preset=12"), /no preset “12”, only 8/);
  assert.match(problemOf("lab=1&net=r.c500k3"), /layer 2 is “c500k3”: channels, expected a whole number from 1 to 128/);
  assert.match(problemOf("lab=1&net=r&batch=50"), /batch size is “50”, expected a multiple of 16 from 16 to 512/);
  assert.match(problemOf("lab=1&net=r&speed=9"), /“speed” is none of its settings/);
  assert.match(problemOf("lab=1&net=r&net=r"), /twice/);
  assert.match(problemOf(`lab=1&net=${"r.".repeat(60)}r`), /61 layers, at most 40/);
  assert.match(problemOf("x".repeat(5000)), /5000 characters/);
});
