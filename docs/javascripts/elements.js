// @ts-check
/**
 * What all scripts share: elements with their attributes and content in one expression, and numbers
 * as the site writes them.
 */

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string>} attributes
 * @param {(Node | string)[]} content
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function make(name, attributes, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

/**
 * Tables that are laid out as cards stay tables for those who listen.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name @param {string} role @param {(Node | string)[]} content
 */
export function withRole(name, role, ...content) {
  return make(name, { role }, ...content);
}

/**
 * @param {string} name @param {Record<string, string | number>} attributes
 * @param {(Node | string)[]} content
 */
export function svg(name, attributes, ...content) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(element, attributes);
  element.append(...content);
  return element;
}

/** @param {Element} element @param {Record<string, string | number>} attributes */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, `${value}`);
}

/** A number with a true minus, never −0. @param {number} value @param {number} digits */
export function signed(value, digits = 2) {
  return value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

/** @param {number} value @param {number} least @param {number} most */
export function within(value, least, most) {
  return Math.max(least, Math.min(most, value));
}

/**
 * A table as the site's other tables: the first column names the rows.
 * @param {string} caption
 * @param {string[]} headings
 * @param {string[][]} rows
 * @param {(row: string[]) => string} classOf a class for a row, or ""
 */
export function table(caption, headings, rows, classOf = () => "") {
  const head = headings.map((text) => (text ? make("th", { scope: "col" }, text) : make("td", {})));
  const body = rows.map((row) => {
    const [first, ...rest] = row;
    const cells = rest.map((cell) => make("td", {}, cell));
    return make("tr", { class: classOf(row) }, make("th", { scope: "row" }, first), ...cells);
  });
  const made = make(
    "table",
    { class: "layers" },
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head)),
    make("tbody", {}, ...body),
  );
  const attributes = { class: "table-scroll", role: "group", "aria-label": caption, tabindex: "0" };
  return make("div", attributes, made);
}
