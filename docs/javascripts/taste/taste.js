// @ts-check
/**
 * The small playground of the index: what is drawn is read at every stroke.
 *
 * The network's two files are fetched when the pen first comes near, not before.
 */

import { center } from "../playground/center.js";
import { loadNetwork } from "../playground/network.js";
import { Pad } from "../playground/pad.js";

const STAGE = 8;

const place = {
  pad: /** @type {HTMLCanvasElement} */ (document.getElementById("taste-pad")),
  hint: /** @type {HTMLElement} */ (document.getElementById("taste-hint")),
  bars: /** @type {HTMLElement} */ (document.getElementById("taste-bars")),
  verdict: /** @type {HTMLElement} */ (document.getElementById("taste-verdict")),
  clear: /** @type {HTMLElement} */ (document.getElementById("taste-clear")),
};

/** @type {Promise<import("../playground/network.js").Network> | undefined} */
let network;
const ready = () => (network ??= loadNetwork(`stage-${STAGE}`));
const pad = new Pad(place.pad, { onStart, onInk });
let asked = false; // for a reading before the next frame: one is enough, however fast the pen

for (const near of ["pointerenter", "pointerdown"]) {
  place.pad.addEventListener(near, () => ready().catch(complain), { once: true });
}
place.clear.addEventListener("click", () => {
  pad.clear();
  place.hint.hidden = false;
  place.clear.hidden = true;
  show(null);
});

function onStart() {
  place.hint.hidden = true;
  place.clear.hidden = false;
}

function onInk() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    read().catch(complain);
  });
}

async function read() {
  const loaded = await ready();
  const pixels = center(pad.ink());
  if (pixels.every((ink) => ink === 0)) return; // cleared in the meantime
  show(Array.from(loaded.forward(pixels).at(-1)?.data ?? [], Math.exp));
}

/** @param {number[] | null} probabilities null when there is no digit */
function show(probabilities) {
  const best = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
  [...place.bars.children].forEach((bar, digit) => {
    const share = probabilities?.[digit] ?? 0;
    /** @type {HTMLElement} */ (bar).style.setProperty("--probability", share.toFixed(4));
    bar.classList.toggle("is-best", digit === best);
  });
  const sure = probabilities ? (100 * probabilities[best]).toFixed(0) : "";
  place.verdict.textContent = probabilities ? `Reads as ${best}, ${sure} % sure.` : "Nothing drawn yet.";
}

/** @param {unknown} error */
function complain(error) {
  network = undefined; // the next stroke tries again
  place.verdict.textContent = `The network cannot be read: ${/** @type {Error} */ (error).message}.`;
}
