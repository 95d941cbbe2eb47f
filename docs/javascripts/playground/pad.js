// @ts-check
/**
 * The drawing area: strokes of a mouse, a finger or a pen become ink.
 */

import { whenThemeChanges } from "./pictures.js";

/** @typedef {import("./center.js").Ink} Ink */

// Width of the pen, as a part of the area's side: scaled to MNIST's box, a digit that fills most
// of the area then has strokes as wide as MNIST's, 2 to 3 pixels.
export const PEN = 0.075;

export class Pad {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{onStart: () => void, onInk: () => void}} events `onStart` when a stroke begins,
   *   `onInk` whenever ink was added
   */
  constructor(canvas, events) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (
      canvas.getContext("2d", { willReadFrequently: true })
    );
    this.events = events;
    this.tint();
    whenThemeChanges(() => this.tint());
    /** @type {{x: number, y: number} | null} where the pen is while it is down */
    this.last = null;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => (this.last = null));
    }
  }

  /** All ink, and what the pen will draw, in the page's colour as it is now. */
  tint() {
    const { context, canvas } = this;
    const ink = getComputedStyle(document.body).getPropertyValue("--figure-ink").trim();
    context.strokeStyle = context.fillStyle = ink;
    context.globalCompositeOperation = "source-in"; // where there is ink, as opaque as it is
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "source-over";
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /**
   * Show an image of 28 × 28 pixels in place of a drawing.
   * @param {Float32Array} pixels
   */
  show(pixels) {
    const image = new ImageData(28, 28);
    pixels.forEach((ink, i) => (image.data[4 * i + 3] = 255 * ink));
    const small = document.createElement("canvas");
    small.width = small.height = 28;
    small.getContext("2d")?.putImageData(image, 0, 0);
    this.clear();
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
    this.tint();
  }

  /** @returns {Ink} how opaque each pixel of the area is */
  ink() {
    const { width, height } = this.canvas;
    const { data } = this.context.getImageData(0, 0, width, height);
    const ink = new Float32Array(width * height);
    for (let i = 0; i < ink.length; i++) ink[i] = data[4 * i + 3] / 255;
    return { data: ink, width, height };
  }

  /** @param {PointerEvent} event */
  begin(event) {
    if (event.button !== 0 || this.last) return; // one pen at a time
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.events.onStart();
    this.last = this.place(event);
    this.draw(this.last);
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (!this.last) return;
    // A browser reports fast movements in bundles; all of their points belong to the stroke.
    const points = event.getCoalescedEvents?.() ?? [];
    for (const point of points.length ? points : [event]) this.draw(this.place(point));
  }

  /**
   * A line from where the pen was.
   * @param {{x: number, y: number}} to
   */
  draw(to) {
    const from = this.last ?? to;
    this.context.lineCap = "round";
    this.context.lineWidth = PEN * this.canvas.width;
    this.context.beginPath();
    this.context.moveTo(from.x, from.y);
    this.context.lineTo(to.x, to.y);
    this.context.stroke();
    this.last = to;
    this.events.onInk();
  }

  /**
   * Where an event happened, in the canvas's own pixels.
   * @param {PointerEvent} event
   */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * this.canvas.width,
      y: ((event.clientY - box.top) / box.height) * this.canvas.height,
    };
  }
}
