// @ts-check
// Questions on pages, predictions and checks of understanding, and the reader's progress on the index.
//
// What the reader answers stays in this browser, under one key of its local storage, and a button
// erases it. A classic script without imports, for a page that was opened from a folder may not
// load modules. Its places are made in mnist_steps/pages/quiz.py.
{
  const KEY = "mnist-steps.progress";
  const ASIDE = "mnist-steps.progress.damaged";

  /** first, last: places of the choices taken first and last; right: whether the first one was.
   * @typedef {{ first: number, last: number, right: boolean }} Answer */

  /** @param {unknown} one @returns {one is Answer} */
  const isAnswer = (one) => {
    const { first, last, right } = /** @type {any} */ (one ?? {});
    return Number.isInteger(first) && Number.isInteger(last) && typeof right === "boolean";
  };

  /** By a question's name, what the reader answered. @type {Record<string, Answer>} */
  let kept = {};
  let damaged = false;
  try {
    const text = localStorage.getItem(KEY);
    if (text !== null) {
      try {
        const found = JSON.parse(text);
        const sound = Object.entries(found).filter(([, answer]) => isAnswer(answer));
        kept = Object.fromEntries(sound);
        damaged = typeof found !== "object" || Array.isArray(found) || sound.length < Object.keys(found).length;
      } catch {
        damaged = true;
      }
      // What cannot be read is put aside as it is, and not written over.
      if (damaged) localStorage.setItem(ASIDE, text);
    }
  } catch {
    // Storage is off: this page still works, and forgets.
  }

  const keep = () => {
    try {
      if (Object.keys(kept).length) localStorage.setItem(KEY, JSON.stringify(kept));
      else localStorage.removeItem(KEY);
    } catch {
      // See above.
    }
  };

  /**
   * @template {keyof HTMLElementTagNameMap} Name
   * @param {Name} name
   * @param {Record<string, string>} attributes
   * @param {(Node | string)[]} content
   * @returns {HTMLElementTagNameMap[Name]}
   */
  const make = (name, attributes, ...content) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...content);
    return element;
  };

  /** Copies of what an element holds. @param {Element | undefined | null} element */
  const copies = (element) => [...(element?.childNodes ?? [])].map((node) => node.cloneNode(true));

  // --- A question -------------------------------------------------------------------------------

  /** Make a form of a question. @param {HTMLElement} place */
  const ask = (place) => {
    const name = place.dataset.question ?? "";
    const right = Number(place.dataset.answer);
    const isCheck = place.dataset.kind === "check";
    const text = /** @type {HTMLElement} */ (place.querySelector(".question-text"));
    const list = /** @type {HTMLElement} */ (place.querySelector("ol"));
    const answer = /** @type {HTMLDetailsElement} */ (place.querySelector("details"));
    const reasons = [...answer.querySelectorAll(".question-reason")];

    const options = [...list.children].map((choice, index) => {
      const radio = make("input", { type: "radio", name, value: String(index) });
      const words = make("span", {}, ...copies(choice));
      return { radio, words, label: make("label", {}, radio, words) };
    });
    const legend = make("legend", {}, ...text.childNodes);
    const button = make("button", { type: "button", class: "md-button" });
    const verdict = make("p", { role: "status", class: "question-verdict" });
    const fieldset = make("fieldset", {}, legend, ...options.map(({ label }) => label));
    text.remove();
    list.replaceWith(fieldset);
    answer.before(make("div", { class: "question-reply" }, button, verdict));

    /** A prediction is over with its first answer, a check with the right one. */
    const isOver = () => kept[name] && (!isCheck || kept[name].last === right);

    /** What is said of an answer. @param {number} chosen */
    const say = (chosen) => {
      const word = make("strong", {}, chosen === right ? "Right." : "No.");
      if (isCheck) verdict.replaceChildren(word, " ", ...copies(reasons[chosen]));
      else if (chosen === right) verdict.replaceChildren("As you predicted.");
      else verdict.replaceChildren("Not as you predicted. Measured: ", ...copies(options[right].words), ".");
      if (isCheck && chosen !== right) verdict.append(" Choose again.");
    };

    const show = () => {
      const given = kept[name];
      const over = isOver();
      options.forEach(({ radio, label }, index) => {
        radio.disabled = Boolean(over);
        if (given) radio.checked = index === given.last;
        label.classList.toggle("is-right", Boolean(over) && index === right);
        label.classList.toggle("is-missed", Boolean(over) && index === given.first && index !== right);
      });
      answer.hidden = !over;
      answer.open = Boolean(over) && !isCheck;
      button.textContent = over ? "Forget my answer" : isCheck ? "Check" : "Compare with the measurement";
      if (given) say(given.last);
      else verdict.replaceChildren();
    };

    button.addEventListener("click", () => {
      if (isOver()) {
        delete kept[name];
        options.forEach(({ radio }) => (radio.checked = false));
      } else {
        const chosen = options.findIndex(({ radio }) => radio.checked);
        if (chosen < 0) {
          verdict.replaceChildren("Choose one of them first.");
          return;
        }
        const first = kept[name]?.first ?? chosen;
        kept[name] = { first, last: chosen, right: first === right };
      }
      keep();
      show();
    });
    show();
  };

  // --- Progress, on the index -------------------------------------------------------------------

  /** Note at each stage what was answered. @param {HTMLElement} place */
  const count = (place) => {
    const status = /** @type {HTMLElement} */ (place.querySelector("[role=status]"));
    const steps = [...place.querySelectorAll("li")];
    const button = make("button", { type: "button", class: "md-button" }, "Erase my answers");
    place.append(button);

    /** The names of a page's questions. @param {string | undefined} list */
    const names = (list) => (list ? list.split(" ") : []);

    const show = (erased = false) => {
      let read = 0;
      let right = 0;
      let all = 0;
      let any = false;
      for (const step of steps) {
        const checks = names(step.dataset.checks);
        const given = checks.map((name) => kept[name]).filter(Boolean);
        const predicted = names(step.dataset.predictions).map((name) => kept[name]).find(Boolean);
        const hits = given.filter((answer) => answer.right).length;
        const isRead = checks.length > 0 && given.length === checks.length;
        read += Number(isRead);
        right += hits;
        all += checks.length;
        any ||= given.length > 0 || predicted !== undefined;
        const notes = [];
        if (predicted) notes.push(predicted.right ? "as predicted" : "a surprise");
        if (given.length) notes.push(`${hits} of ${checks.length} right`);
        /** @type {HTMLElement} */ (step.querySelector("span")).textContent = notes.join(", ") || "open";
        step.dataset.state = isRead ? "read" : "open";
      }
      const sums = `${read} of ${steps.length} read, ${right} of ${all} right at the first try.`;
      const rule = "A stage counts as read when all its checks are answered.";
      status.textContent = erased
        ? "Your answers are erased."
        : any
          ? `${sums} ${rule} Kept in this browser only.`
          : "Nothing answered yet. Your answers will be kept in this browser only.";
      if (damaged && !erased) {
        status.append(` Some of what was kept could not be read; it was put aside as ${ASIDE}.`);
      }
      button.hidden = !any && !damaged;
    };

    button.addEventListener("click", () => {
      kept = {};
      damaged = false;
      keep();
      try {
        localStorage.removeItem(ASIDE);
      } catch {
        // See above.
      }
      show(true);
      steps[0]?.querySelector("a")?.focus(); // the button is gone
    });
    show();
  };

  document.querySelectorAll("[data-question]").forEach((place) => ask(/** @type {HTMLElement} */ (place)));
  document.querySelectorAll("[data-progress]").forEach((place) => count(/** @type {HTMLElement} */ (place)));
}
