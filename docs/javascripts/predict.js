// @ts-check
// Predict first: a question before the results, its answer, and the ladder of answers on the index.
//
// What the reader answers stays in this browser, under one key of its local storage, and a button
// erases it. A classic script without imports, for a page that was opened from a folder may not
// load modules. Its two places are made by predict() and predictions() in mnist_steps/pages/parts.py.
{
  const KEY = "mnist-steps.predictions";

  /** @typedef {{ question: string, chosen: number, right: boolean }} Prediction */

  /** By the stage's folder, what the reader predicted. @type {Record<string, Prediction>} */
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    // Storage is off or was tampered with: this page still works, and forgets.
  }

  const keep = () => {
    try {
      if (Object.keys(kept).length) localStorage.setItem(KEY, JSON.stringify(kept));
      else localStorage.removeItem(KEY);
    } catch {
      // See above.
    }
  };

  /** The stage that an address belongs to: the last folder of its path. @param {string} address */
  const stageOf = (address) =>
    new URL(address, document.baseURI).pathname.replace(/(index\.html)?$/, "").split("/").at(-2) ?? "";

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

  // --- The question on a stage's page ---------------------------------------------------------

  /** Make a form of a question. @param {HTMLElement} place */
  const ask = (place) => {
    const question = place.dataset.predict ?? "";
    const right = Number(place.dataset.answer);
    const stage = stageOf(location.href);
    const text = /** @type {HTMLElement} */ (place.querySelector(".predict-question"));
    const list = /** @type {HTMLElement} */ (place.querySelector("ol"));
    const answer = /** @type {HTMLDetailsElement} */ (place.querySelector("details"));

    const radios = [...list.children].map((choice, index) => {
      const radio = make("input", { type: "radio", name: question, value: String(index) });
      return { radio, label: make("label", {}, radio, make("span", {}, choice.textContent ?? "")) };
    });
    const legend = make("legend", {}, ...text.childNodes);
    const button = make("button", { type: "button", class: "md-button" });
    const verdict = make("p", { role: "status", class: "predict-verdict" });
    const fieldset = make("fieldset", {}, legend, ...radios.map(({ label }) => label));
    text.remove();
    list.replaceWith(fieldset);
    answer.before(make("div", { class: "predict-reply" }, button, verdict));

    /** Show the form as open, or as answered with the choice of that place. */
    const show = () => {
      const chosen = kept[stage]?.question === question ? kept[stage].chosen : undefined;
      const open = chosen === undefined;
      radios.forEach(({ radio, label }, index) => {
        radio.disabled = !open;
        if (!open) radio.checked = index === chosen;
        label.classList.toggle("predict-measured", !open && index === right);
        label.classList.toggle("predict-missed", !open && index === chosen && index !== right);
      });
      answer.hidden = open;
      answer.open = !open;
      button.textContent = open ? "Compare with the measurement" : "Forget my answer";
      if (open) verdict.textContent = "";
      else if (chosen === right) verdict.textContent = "As you predicted.";
      else verdict.textContent = `Not as you predicted. Measured: ${radios[right].label.textContent}.`;
    };

    button.addEventListener("click", () => {
      if (kept[stage]?.question === question) {
        delete kept[stage];
        radios.forEach(({ radio }) => (radio.checked = false));
      } else {
        const chosen = radios.findIndex(({ radio }) => radio.checked);
        if (chosen < 0) {
          verdict.textContent = "Choose one of the three first.";
          return;
        }
        kept[stage] = { question, chosen, right: chosen === right };
      }
      keep();
      show();
    });
    show();
  };

  // --- The ladder on the index page -----------------------------------------------------------

  /** Note at each stage what was predicted. @param {HTMLElement} place */
  const count = (place) => {
    const status = /** @type {HTMLElement} */ (place.querySelector("[role=status]"));
    const steps = [...place.querySelectorAll("li")];
    const button = make("button", { type: "button", class: "md-button" }, "Erase my answers");
    place.append(button);

    const show = (erased = false) => {
      const answered = steps.map((step) => kept[stageOf(step.querySelector("a")?.href ?? "")]);
      steps.forEach((step, index) => {
        const note = /** @type {HTMLElement} */ (step.querySelector("span"));
        const prediction = answered[index];
        note.textContent = !prediction ? "not predicted" : prediction.right ? "as predicted" : "a surprise";
        step.dataset.state = !prediction ? "open" : prediction.right ? "right" : "surprise";
      });
      const given = answered.filter(Boolean);
      const hits = given.filter((prediction) => prediction.right).length;
      status.textContent = erased
        ? "Your answers are erased."
        : given.length
          ? `${given.length} of ${steps.length} predicted, ${hits} as measured. Kept in this browser only.`
          : "Nothing predicted yet. Your answers will be kept in this browser only.";
      button.hidden = !given.length;
    };

    button.addEventListener("click", () => {
      kept = {};
      keep();
      show(true);
      steps[0]?.querySelector("a")?.focus(); // the button is gone
    });
    show();
  };

  document.querySelectorAll("[data-predict]").forEach((place) => ask(/** @type {HTMLElement} */ (place)));
  document.querySelectorAll("[data-predictions]").forEach((place) => count(/** @type {HTMLElement} */ (place)));
}
