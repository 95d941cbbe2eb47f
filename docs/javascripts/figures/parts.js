// @ts-check
/**
 * What the moving figures have in common: their place on the page, controls, and numbers as text.
 */

import { make, set, signed, within } from "../elements.js";

/**
 * Put a figure into each of its places, and the picture that stood there out of sight.
 * @param {string} name of the module, as the place has it in data-moving
 * @param {(data: any) => (Node | string)[]} build makes the figure of the place's data
 * @param {string[]} pictures what the still pictures show, where there are several
 */
export function mount(name, build, pictures = []) {
  const places = /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll(`[data-moving="${name}"]`)
  );
  for (const place of places) {
    const data = JSON.parse(place.querySelector("script")?.textContent ?? "");
    place.append(...build(data));
    // Its files to take away stay.
    const files = [...place.querySelectorAll(".moving-still a[download]")];
    pictures.slice(0, files.length).forEach((shown, i) => {
      files[i].textContent = shown;
      set(files[i], { "aria-label": `${shown}, as an SVG file` });
    });
    if (files.length) {
      const said = files.length > 1 ? "Still pictures: " : "The still picture: ";
      place.append(make("p", { class: "mv-files" }, said, ...files));
    }
    place.querySelector(".moving-still")?.remove();
    place.classList.add("is-ready");
  }
}

/**
 * A slider with its name and its value in words.
 * @param {string} name
 * @param {{least: number, most: number, step?: number, value: number,
 *          words?: (value: number) => string}} options
 * @param {(value: number) => void} onInput
 */
export function slider(name, { least, most, step = 1, value, words = String }, onInput) {
  const attributes = { type: "range", min: `${least}`, max: `${most}`, step: `${step}` };
  const input = make("input", attributes);
  const shown = make("span", { class: "mv-value", "aria-hidden": "true" });
  const element = make("label", { class: "mv-slider" }, make("span", {}, name), input, shown);
  const tell = () => {
    shown.textContent = words(Number(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  /** Move the slider without an event. @param {number} to */
  const set = (to) => {
    input.value = `${to}`;
    tell();
  };
  set(value);
  input.addEventListener("input", () => {
    tell();
    onInput(Number(input.value));
  });
  return { element, input, set };
}

/** @param {string} text @param {() => void} task */
export function button(text, task) {
  const made = make("button", { type: "button" }, text);
  made.addEventListener("click", task);
  return made;
}

/**
 * A choice among a few names. @param {string} name @param {string[]} choices
 * @param {(index: number) => void} onChange
 */
export function choice(name, choices, onChange) {
  const options = choices.map((text, index) => make("option", { value: `${index}` }, text));
  const select = make("select", {}, ...options);
  select.addEventListener("change", () => onChange(Number(select.value)));
  return make("label", { class: "mv-choice" }, make("span", {}, name), select);
}

/** Where a figure says in words what it shows. */
export function words() {
  return make("p", { class: "mv-words", role: "status" });
}

/**
 * A picture of so many numbers.
 * @param {number} width @param {number} height @param {string} label
 */
export function canvas(width, height, label) {
  const attributes = { width: `${width}`, height: `${height}`, role: "img", "aria-label": label };
  return make("canvas", attributes);
}

/** A number's three leading digits. @param {number} value */
export function brief(value) {
  if (Math.abs(value) < 5e-5) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return signed(value, Math.min(digits, 6));
}

/**
 * A square of numbers, the larger the stronger its colour. Who listens gets them in words
 * elsewhere. @param {number} side @param {string} title
 */
export function numberGrid(side, title) {
  const cells = Array.from({ length: side * side }, () => make("span", {}));
  const grid = make("span", { class: "mv-numbers", style: `--side: ${side}` }, ...cells);
  const attributes = { class: "mv-grid", "aria-hidden": "true" };
  const element = make("div", attributes, make("span", {}, title), grid);
  /** @param {number[]} values */
  const show = (values) => {
    const most = Math.max(...values.map(Math.abs), 1e-9);
    values.forEach((value, i) => {
      cells[i].textContent = signed(value);
      cells[i].classList.toggle("is-negative", value < 0);
      cells[i].style.setProperty("--part", `${Math.round((30 * Math.abs(value)) / most)}%`);
    });
  };
  return { element, show };
}

/**
 * A picture with a frame on it that the reader moves: by the arrow keys, or by a click.
 * @param {HTMLCanvasElement} picture
 * @param {{label: string, rows: number, columns: number, frame: number}} options how many places
 *   there are, and how many of the picture's pixels the frame spans
 * @param {(row: number, column: number) => void} onMove
 */
export function placePicker(picture, { label, rows, columns, frame }, onMove) {
  const mark = make("span", { class: "mv-frame" });
  picture.removeAttribute("role");
  picture.removeAttribute("aria-label");
  picture.setAttribute("aria-hidden", "true");
  const element = make(
    "div",
    { class: "mv-picture", tabindex: "0", role: "application", "aria-label": label },
    picture,
    mark,
  );
  let [row, column] = [0, 0];
  /** @param {number} toRow @param {number} toColumn */
  const set = (toRow, toColumn) => {
    [row, column] = [toRow, toColumn];
    const side = { left: column / picture.width, top: row / picture.height };
    for (const [name, part] of Object.entries(side)) mark.style.setProperty(name, `${100 * part}%`);
    mark.style.setProperty("width", `${(100 * frame) / picture.width}%`);
    mark.style.setProperty("height", `${(100 * frame) / picture.height}%`);
  };
  /** @param {number} toRow @param {number} toColumn */
  const move = (toRow, toColumn) =>
    onMove(within(toRow, 0, rows - 1), within(toColumn, 0, columns - 1));
  element.addEventListener("keydown", (event) => {
    /** @type {Record<string, [number, number]>} */
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault(); // the page would scroll
    move(row + step[0], column + step[1]);
  });
  /** @param {PointerEvent} event */
  const point = (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * picture.width;
    const y = ((event.clientY - box.top) / box.height) * picture.height;
    move(Math.round(y - frame / 2), Math.round(x - frame / 2));
  };
  element.addEventListener("pointerdown", point);
  element.addEventListener("pointermove", (event) => event.buttons && point(event));
  return { element, set };
}
