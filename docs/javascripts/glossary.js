// @ts-check
// A word of the glossary says what it means: pointed at, reached by keyboard, or tapped.
//
// Without this script the word is a link to the glossary, and so it is with it; on a touch screen the
// first tap shows the meaning, the second follows the link. A classic script, for a page that was
// opened from a folder may not load modules. Links are made by site_tools/glossary.py.
{
  const bubble = document.createElement("div");
  bubble.id = "term-meaning";
  bubble.className = "term-meaning";
  bubble.setAttribute("role", "tooltip");
  bubble.hidden = true;

  /** The word whose meaning shows. @type {HTMLAnchorElement | null} */
  let shown = null;
  /** How the last press was made. */
  let pointer = "";
  /** Whether that press found its word's meaning shown already. */
  let again = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let waiting;

  /** @param {HTMLAnchorElement} term */
  const show = (term) => {
    clearTimeout(waiting);
    shown?.removeAttribute("aria-describedby");
    shown = term;
    bubble.textContent = term.dataset.meaning ?? "";
    bubble.hidden = false;
    term.setAttribute("aria-describedby", bubble.id);
    // Below the word, or above it where there is no room; never beyond the screen's sides.
    const word = term.getClientRects()[0];
    const wide = document.documentElement.clientWidth;
    const left = Math.max(8, Math.min(word.left, wide - bubble.offsetWidth - 8));
    const below = word.bottom + bubble.offsetHeight + 8 < innerHeight;
    const top = below ? word.bottom + 4 : word.top - bubble.offsetHeight - 4;
    bubble.style.left = `${left + scrollX}px`;
    bubble.style.top = `${top + scrollY}px`;
  };

  const hide = () => {
    clearTimeout(waiting);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    bubble.hidden = true;
  };

  // Time to move from the word onto its meaning, to read or to copy it.
  const hideSoon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(hide, 300);
  };

  /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("a.term")).forEach((term) => {
    term.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse") show(term);
    });
    term.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hideSoon();
    });
    term.addEventListener("pointerdown", (event) => {
      pointer = event.pointerType;
      again = shown === term;
    });
    term.addEventListener("focus", () => show(term));
    term.addEventListener("blur", hideSoon);
    term.addEventListener("click", (event) => {
      const tapped = pointer === "touch" && !again;
      pointer = "";
      if (!tapped) return;
      event.preventDefault();
      show(term);
    });
  });
  bubble.addEventListener("pointerenter", () => clearTimeout(waiting));
  bubble.addEventListener("pointerleave", hideSoon);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && shown) hide();
  });
  document.addEventListener("pointerdown", (event) => {
    if (event.target instanceof Node && !bubble.contains(event.target) && !shown?.contains(event.target)) hide();
  });
  document.body.append(bubble);
}
