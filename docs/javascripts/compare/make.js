// @ts-check
/**
 * Elements with their attributes and content in one expression.
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
