// @ts-check
/** The elements of the training on the page, and how the page is found and seen. */

import { make } from "../elements.js";

/** Its elements, put into a place. @param {HTMLElement} place */
export function build(place) {
  const page = {
    estimate: make("p", {}),
    start: make("button", { type: "button", class: "md-button md-button--primary" }, "Train"),
    pause: make("button", { type: "button", class: "md-button" }, "Pause"),
    stop: make("button", { type: "button", class: "md-button" }, "Stop"),
    problem: make("p", { class: "lt-problem", role: "alert" }),
    kept: make("div", { class: "lt-kept" }),
    progress: make("progress", { max: "1", "aria-label": "How far the training is" }),
    figures: make("p", { class: "lt-figures", tabindex: "-1" }),
    note: make("p", { class: "lt-quiet" }),
    over: make("select", {}, new Option("nothing", "0")),
    overRow: make("label", { class: "lt-over" }, "Draw over the curves: "),
    curves: make("div", { class: "lt-curves" }),
    epochs: make("details", { class: "fold" }),
    judged: make("div", {}),
    test: make("button", { type: "button", class: "md-button" }, "Open the test set"),
    testText: make("p", {}),
    testRow: make("div", { class: "lt-test" }),
    frontier: make("figure", { class: "lt-chart" }),
    spoken: make("p", { class: "lt-unseen", role: "status" }),
  };
  page.overRow.append(page.over);
  page.testRow.append(page.test, page.testText);
  place.classList.add("lab-training");
  place.append(
    page.estimate,
    make("div", { class: "lt-buttons" }, page.start, page.pause, page.stop),
    page.problem, page.kept, page.progress, page.figures, page.note,
    page.overRow, page.curves, page.epochs, page.judged,
    page.testRow, page.frontier, page.spoken,
  ); // one after the other, as they are read
  return page;
}

export function needsServer() {
  const command = make("code", {}, "python3 -m http.server");
  const before = "Training needs a server: browsers let no page from a folder start it. Run ";
  return make("p", { class: "lt-server" }, before, command, " in the site’s folder, and open the address that it prints.");
}

/** The site's root: the Lab's scripts say where they lie. @param {HTMLElement} place */
export function rootOf(place) {
  const script = place.ownerDocument.querySelector('script[src*="javascripts/lab/"]');
  const found = script instanceof HTMLScriptElement ? new URL("../../", script.src) : null;
  return found ?? new URL("./", document.baseURI);
}

/** Run a task once an element is near the screen. @param {Element} element @param {() => void} task */
export function whenSeen(element, task) {
  if (typeof IntersectionObserver === "undefined") {
    task();
    return;
  }
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      observer.disconnect();
      task();
    },
    { rootMargin: "200px" },
  );
  observer.observe(element);
}
