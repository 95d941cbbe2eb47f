// @ts-check
/**
 * The reader's own network, looked at: digits drawn for it, what each layer makes of them, its
 * kernels and its mistakes. The drawing pad, the forward pass and the pictures are the playground's.
 */

import { make } from "../elements.js";
import { center } from "../playground/center.js";
import { Network } from "../playground/network.js";
import { Pad } from "../playground/pad.js";
import { drawInk, drawMaps, palette, whenThemeChanges } from "../playground/pictures.js";
import { PIXELS } from "./pixels.js";

/** @typedef {import("../engine/description.js").Layer} Layer */
/** @typedef {import("../playground/layers.js").Tensor} Tensor */
/** @typedef {{position: number, label: number, answer: number, sure: number, pixels: Uint8Array}} Mistake */
/** @typedef {{mistakes: Mistake[] | null, ofTest: boolean, ask: () => void}} Mistakes */

const SIDE = 28;

/** What is shown now, by the element it is in. @type {WeakMap<HTMLElement, View>} */
const views = new WeakMap();

/**
 * @param {HTMLElement} place
 * @param {{layers: Layer[], weights: Record<string, Float32Array>} | null} trained
 * @param {Mistakes} mistakes
 */
export function showNetwork(place, trained, mistakes) {
  place.classList.add("lab-after");
  if (!trained) {
    views.delete(place);
    place.replaceChildren(
      make("h2", {}, "Your network"),
      make("p", { class: "lt-quiet" }, "Train a network first; then draw digits for it here."),
    );
    return;
  }
  let view = views.get(place);
  if (!view) {
    view = new View(place);
    views.set(place, view);
  }
  view.take(trained.layers, trained.weights);
  view.showMistakes(mistakes);
}

/**
 * The network as the playground computes it.
 * @param {Layer[]} layers @param {Record<string, Float32Array>} weights by their names
 */
export function networkFrom(layers, weights) {
  const sizes = Object.values(weights).map(({ length }) => length);
  const numbers = new Float32Array(sizes.reduce((sum, size) => sum + size, 0));
  let next = 0;
  const described = layers.map((layer) => {
    /** @type {Record<string, {offset: number, shape: number[]}>} */
    const placed = {};
    for (const [name, values] of Object.entries(weights)) {
      const [owner, part] = name.split(".");
      if (owner !== layer.name) continue;
      const { out_channels, in_channels, kernel_size } = layer.attributes;
      const isKernel = layer.kind === "Conv2d" && part === "weight";
      const shape = isKernel ? [out_channels, in_channels, ...kernel_size] : [values.length];
      placed[part] = { offset: 4 * next, shape };
      numbers.set(values, next);
      next += values.length;
    }
    return { ...layer, weights: placed };
  });
  const description = /** @type {import("../playground/network.js").Description} */ ({
    stage: 0,
    title: "your own",
    input_shape: [1, SIDE, SIDE],
    layers: described,
    normalize: PIXELS,
    weights: { bytes: numbers.byteLength },
  });
  return new Network(description, numbers.buffer);
}

class View {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.pixels = new Float32Array(SIDE * SIDE);
    /** @type {Network | null} */
    this.network = null;
    /** @type {Record<string, Float32Array> | null} */
    this.weights = null;
    const canvas = make("canvas", {
      id: "pg-pad", width: "420", height: "420", role: "img",
      "aria-label": "Drawing area for mouse, finger or pen. With the keyboard, choose a digit that the network misreads instead.",
    });
    this.clear = make("button", { type: "button", id: "pg-clear" }, "Clear");
    this.verdict = make("strong", { id: "pg-verdict" }, "–");
    this.bars = make("ul", { id: "pg-bars", "aria-label": "Probability of each digit" });
    this.noMaps = make("p", { class: "lt-quiet" }, "Draw a digit, and each layer’s maps of it stand here.");
    this.maps = make("div", { class: "lt-layers" });
    this.kernels = make("div", { class: "lt-layers" });
    const kernelFold = fold("Its kernels",
      make("p", { class: "lt-quiet" },
        "Zero is the paper’s colour, positive and negative weights have theirs. Each convolution has a row for each channel that it reads, and a column for each that it makes."),
      this.kernels);
    this.mistakes = make("div", { class: "lt-mistakes" });
    this.spoken = make("p", { class: "lt-unseen", role: "status" });
    for (let digit = 0; digit < 10; digit++) {
      this.bars.append(make("li", {}, make("span", {}, `${digit}`), make("span", {}, "")));
    }
    this.pad = new Pad(canvas, {
      onStart: () => {
        if (this.isExample) this.pad.clear();
        this.isExample = false;
      },
      onInk: () => this.later(),
    });
    this.isExample = false;
    this.clear.addEventListener("click", () => {
      this.pad.clear();
      this.isExample = false;
      this.compute(new Float32Array(SIDE * SIDE));
    });
    place.replaceChildren(
      make("h2", {}, "Your network"),
      make("div", { class: "playground lt-playground" },
        make("div", { class: "pg-side" },
          make("div", { class: "pg-draw" }, canvas, this.clear),
          make("div", { class: "pg-answer" },
            make("p", { class: "pg-label" }, "Reads as ", this.verdict), this.bars)),
        make("div", { class: "pg-main" },
          fold("What each layer makes of it", this.noMaps, this.maps))),
      kernelFold,
      fold("Its mistakes", this.mistakes),
      this.spoken,
    );
    whenThemeChanges(() => this.draw());
  }

  /** @param {Layer[]} layers @param {Record<string, Float32Array>} weights */
  take(layers, weights) {
    if (this.weights === weights) return;
    this.weights = weights;
    this.network = networkFrom(layers, weights);
    const shape = JSON.stringify(layers);
    if (shape !== this.shape) this.build(this.network.layers);
    this.shape = shape; // an epoch later the pictures are others, their places are the same
    this.draw();
  }

  /** Places for all pictures. @param {import("../playground/network.js").Layer[]} layers */
  build(layers) {
    const maps = layers.map(({ name, output_shape: [count, height = 1, width = 1] }) => {
      const strip = make("div", { class: "lt-maps" });
      strip.style.setProperty("--units", `${width}`);
      for (let map = 0; map < count; map++) strip.append(canvasOf(width, height));
      const size = height * width > 1 ? `${count} × ${height} × ${width}` : `${count} numbers`;
      return make("section", {}, make("h4", {}, make("code", {}, name), ` ${size}`), strip);
    });
    this.maps.replaceChildren(...maps);
    const convolutions = layers.filter(({ kind }) => kind === "Conv2d");
    this.kernels.replaceChildren(...convolutions.map((layer) => kernelsOf(layer)));
  }

  /** At the next frame, however often a stroke asks. */
  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.compute(center(this.pad.ink()));
    });
  }

  /** @param {Float32Array} pixels */
  compute(pixels) {
    if (!this.network) return;
    this.pixels = pixels;
    const isEmpty = pixels.every((ink) => ink === 0);
    this.maps.hidden = isEmpty; // maps of nothing would only show the biases
    this.noMaps.hidden = !isEmpty;
    const probabilities = isEmpty ? new Array(10).fill(0) : this.read(pixels);
    const best = probabilities.indexOf(Math.max(...probabilities));
    probabilities.forEach((probability, digit) => {
      const bar = /** @type {HTMLElement} */ (this.bars.children[digit]);
      const percent = `${(100 * probability).toFixed(1)} %`;
      bar.style.setProperty("--probability", probability.toFixed(4));
      bar.classList.toggle("is-best", !isEmpty && digit === best);
      bar.dataset.percent = probability < 0.005 ? "" : (100 * probability).toFixed(0);
      bar.querySelectorAll("span")[1].textContent = isEmpty ? "" : percent;
    });
    const answer = `${best}, ${(100 * probabilities[best]).toFixed(1)} %`;
    this.verdict.textContent = isEmpty ? "–" : answer;
    clearTimeout(this.pause);
    const line = isEmpty ? "" : `The network reads ${answer}.`;
    this.pause = setTimeout(() => (this.spoken.textContent = line), 900); // once it is still
  }

  /** Each digit's probability; the maps on the way are drawn. @param {Float32Array} pixels */
  read(pixels) {
    const outputs = /** @type {Network} */ (this.network).forward(pixels);
    const colors = palette();
    [...this.maps.querySelectorAll(".lt-maps")].forEach((strip, i) => {
      drawMaps([...strip.querySelectorAll("canvas")], outputs[i], colors);
    });
    return Array.from(/** @type {Tensor} */ (outputs.at(-1)).data, Math.exp);
  }

  /** All pictures anew, in the page's colours. */
  draw() {
    const { network, weights } = this;
    if (!network || !weights) return;
    this.compute(this.pixels);
    const colors = palette();
    const convolutions = network.layers.filter(({ kind }) => kind === "Conv2d");
    [...this.kernels.querySelectorAll("canvas")].forEach((canvas, i) => {
      const layer = convolutions[i];
      const data = sideBySide(layer, weights[`${layer.name}.weight`]);
      drawMaps([canvas], { data, shape: [] }, colors);
    });
    for (const canvas of this.mistakes.querySelectorAll("canvas")) {
      const mistake = drawn.get(canvas);
      if (mistake) drawInk(canvas, inkOf(mistake), colors);
    }
  }

  /** @param {Mistakes} all */
  showMistakes({ mistakes, ofTest, ask }) {
    if (this.mistakes.childElementCount && this.shown === mistakes && this.ofTest === ofTest) return;
    [this.shown, this.ofTest] = [mistakes, ofTest];
    if (!mistakes) {
      const button = make("button", { type: "button", class: "md-button" }, "Show its surest mistakes");
      button.addEventListener("click", ask);
      const text = "Of the validation images, which you may look at as often as you like.";
      this.mistakes.replaceChildren(make("p", { class: "lt-quiet" }, text), button);
      return;
    }
    const images = ofTest ? "test images" : "validation images";
    const text = `The ${mistakes.length} of the ${images} that it misreads most surely; press one to see how it goes through the layers.`;
    const items = mistakes.map((mistake) => make("li", {}, this.buttonOf(mistake)));
    this.mistakes.replaceChildren(
      make("p", { class: "lt-quiet" }, mistakes.length ? text : `It reads all ${images}.`),
      make("ul", { role: "list" }, ...items),
    );
    this.draw();
  }

  /** @param {Mistake} mistake */
  buttonOf(mistake) {
    const { label, answer, sure } = mistake;
    const canvas = canvasOf(SIDE, SIDE);
    drawn.set(canvas, mistake);
    const button = make("button", { type: "button" }, canvas, `${label} as ${answer}`);
    button.title = `${(100 * sure).toFixed(0)} % sure`;
    button.addEventListener("click", () => {
      const pixels = inkOf(mistake);
      this.pad.show(pixels);
      this.isExample = true;
      this.compute(pixels);
    });
    return button;
  }
}

/**
 * A part that folds: closed where it would be many screens long, open where there is room.
 * @param {string} title @param {Node[]} content
 */
function fold(title, ...content) {
  const part = make("details", { class: "fold lt-fold" }, make("summary", {}, make("h3", {}, title)), ...content);
  part.open = matchMedia("(min-width: 60em)").matches;
  return part;
}

/** @type {WeakMap<HTMLCanvasElement, Mistake>} */
const drawn = new WeakMap();

/** From 0 to 1. @param {Mistake} mistake */
const inkOf = ({ pixels }) => Float32Array.from(pixels, (byte) => byte / 255);

/** @param {number} width @param {number} height */
function canvasOf(width, height) {
  return make("canvas", { width: `${width}`, height: `${height}`, "aria-hidden": "true" });
}

/** How many cells the kernels of a layer take, with one cell between neighbours. @param {Layer} layer */
function sizeOfKernels({ attributes: { in_channels, out_channels, kernel_size } }) {
  const [height, width] = kernel_size;
  return { height: in_channels * (height + 1) - 1, width: out_channels * (width + 1) - 1 };
}

/** @param {Layer} layer */
function kernelsOf(layer) {
  const { in_channels, out_channels, kernel_size } = layer.attributes;
  const { height, width } = sizeOfKernels(layer);
  const size = `${out_channels} × ${in_channels} kernels of ${kernel_size.join(" × ")}`;
  const canvas = canvasOf(width, height);
  canvas.style.setProperty("--cells", `${width}`);
  return make("section", {}, make("h4", {}, make("code", {}, layer.name), ` ${size}`), canvas);
}

/**
 * All kernels of a layer in one picture: to the right those that it makes, down those that it reads.
 * @param {Layer} layer @param {Float32Array} weights by output, then input, then row and column
 */
function sideBySide(layer, weights) {
  const { in_channels, out_channels, kernel_size } = layer.attributes;
  const [rows, columns] = kernel_size;
  const { height, width } = sizeOfKernels(layer);
  const picture = new Float32Array(height * width);
  let next = 0;
  for (let output = 0; output < out_channels; output++) {
    for (let input = 0; input < in_channels; input++) {
      for (let row = 0; row < rows; row++) {
        const place = (input * (rows + 1) + row) * width + output * (columns + 1);
        picture.set(weights.subarray(next, next + columns), place);
        next += columns;
      }
    }
  }
  return picture;
}
