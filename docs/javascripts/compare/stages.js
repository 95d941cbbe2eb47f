// @ts-check
/**
 * The table of all stages: sorted by a click on a heading, filtered by what is typed.
 */

import { make } from "../elements.js";

/** @param {HTMLElement} place the element around the table */
export function letReadersSort(place) {
  const body = /** @type {HTMLTableSectionElement} */ (place.querySelector("tbody"));
  const headings = /** @type {HTMLElement[]} */ ([...place.querySelectorAll("thead th")]);
  const rows = [...body.rows];

  /** @param {number} column @param {boolean} descending */
  const sort = (column, descending) => {
    const sign = descending ? -1 : 1;
    rows.sort((one, other) => sign * (valueOf(one, column) - valueOf(other, column)));
    body.append(...rows);
    headings.forEach((heading, i) => {
      if (i === column) heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
  };

  headings.forEach((heading, column) => {
    const button = make("button", { type: "button" }, heading.textContent ?? "");
    heading.replaceChildren(button);
    button.addEventListener("click", () =>
      sort(column, heading.getAttribute("aria-sort") === "ascending"),
    );
  });
  headings[0].setAttribute("aria-sort", "ascending");

  const input = make("input", { type: "search", placeholder: "such as: pool" });
  const found = make("span", { role: "status" });
  place.prepend(make("p", { class: "stage-filter" }, make("label", {}, "Show stages with ", input), found));
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent?.toLowerCase().includes(wanted);
    found.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  });
}

/**
 * The first number in a cell; a cell without one goes to the end.
 * @param {HTMLTableRowElement} row @param {number} column
 */
function valueOf(row, column) {
  const number = row.cells[column].textContent?.replaceAll(",", "").match(/\d+(\.\d+)?/);
  return number ? Number(number[0]) : Infinity;
}
