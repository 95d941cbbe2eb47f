// @ts-check
// What the theme's own script leaves out, in every page and before that script.

// It puts a <nav> without a name, for the copy button, into every block of code. Someone who goes
// from landmark to landmark would stop at each: here they are none.
new MutationObserver((changes) => {
  for (const { addedNodes } of changes) {
    for (const node of addedNodes) {
      if (!(node instanceof Element)) continue;
      if (node.matches("nav.md-code__nav")) node.setAttribute("role", "none");
      for (const nav of node.querySelectorAll("nav.md-code__nav")) nav.setAttribute("role", "none");
    }
  }
}).observe(document.documentElement, { childList: true, subtree: true });

// The theme keeps the reader's choices in the browser's storage, and stops when it cannot read them.
// What is damaged is put aside, under another name, and the theme begins anew.
try {
  for (const key of Object.keys(localStorage)) {
    if (!/\.__[a-z]+$/.test(key) || readable(key)) continue;
    localStorage.setItem(`${key}.damaged`, localStorage.getItem(key) ?? "");
    localStorage.removeItem(key);
  }
} catch {} // a browser that keeps nothing

/** @param {string} key */
function readable(key) {
  try {
    const kept = JSON.parse(localStorage.getItem(key) ?? "null");
    if (!key.endsWith(".__palette") || kept === null) return true;
    return Number.isInteger(kept.index) && kept.color !== null && typeof kept.color === "object";
  } catch {
    return false; // no JSON
  }
}

// A script that cannot be loaded says nothing by itself: the page would only lack what it does.
/** @type {Set<string>} */
const missing = new Set();
addEventListener(
  "error",
  ({ target }) => {
    if (!(target instanceof HTMLScriptElement) || !target.src) return;
    missing.add(new URL(target.src).pathname.replace(/.*\//, ""));
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", tell);
    else tell();
  },
  true, // such an event does not rise from the element that it is about
);

function tell() {
  const id = "missing-scripts";
  const note = document.getElementById(id) ?? document.createElement("p");
  Object.assign(note, { id, className: "missing-scripts" });
  note.setAttribute("role", "alert");
  note.textContent =
    `A part of this page could not be loaded, and what it does is missing: ${[...missing].join(", ")}. ` +
    "Load the page again; if that does not help, the copy of the site is not complete.";
  if (!note.isConnected) document.querySelector("article")?.prepend(note);
}

// The theme's search waits for its index for ever when there is none. Asked once, at its first use.
addEventListener(
  "focusin",
  async function ask({ target }) {
    if (!(target instanceof HTMLElement && target.matches(".md-search__input"))) return;
    removeEventListener("focusin", ask);
    if (location.protocol === "file:") return; // there the index is a script
    const { base } = JSON.parse(document.getElementById("__config")?.textContent ?? "{}");
    const index = new URL(`${base}/search/search_index.json`, location.href);
    const found = await fetch(index).then((answer) => answer.ok, () => false);
    const place = document.querySelector(".md-search-result__meta");
    if (!found && place) {
      place.setAttribute("role", "alert");
      place.textContent = "Search does not work here: its index cannot be loaded.";
    }
  },
);

// Two things that a site needs when it is opened from a folder (file://) and not from a server.
if (location.protocol === "file:") {
  // An address that ends in a folder: a server answers with the page in it, a folder with a list.
  document.addEventListener(
    "click",
    (event) => {
      const link = event.target instanceof Element && event.target.closest("a[href]");
      if (!(link instanceof HTMLAnchorElement) || link.protocol !== "file:") return;
      if (link.pathname.endsWith("/")) link.pathname += "index.html";
    },
    true,
  );

  // The theme searches in a worker, and browsers refuse to start one from a folder. A hidden frame
  // runs the same script, in this page's thread; the index is small enough for that.
  globalThis.Worker = /** @type {any} */ (
    class extends EventTarget {
      /** @param {string | URL} address */
      constructor(address) {
        super();
        const frame = document.createElement("iframe");
        frame.hidden = true;
        frame.title = "Search";
        document.body.append(frame);
        /** @type {any} */
        this.inside = frame.contentWindow;
        this.inside.postMessage = (/** @type {any} */ data) =>
          this.dispatchEvent(new MessageEvent("message", { data }));
        const script = frame.contentDocument?.createElement("script");
        if (!script) return;
        this.ready = new Promise((resolve) => script.addEventListener("load", resolve));
        script.src = String(address);
        frame.contentDocument?.head.append(script);
      }

      /** @param {any} data */
      postMessage(data) {
        this.ready?.then(() =>
          this.inside.dispatchEvent(new this.inside.MessageEvent("message", { data })),
        );
      }

      terminate() {}
    }
  );
}

// On a server: a worker that keeps the site for when there is no network (offline.js). It begins
// once the page is there, and not for a reader who asks the browser to save data.
const worker = /** @type {HTMLElement | null} */ (document.currentScript)?.dataset.offline;
if (worker && location.protocol !== "file:" && "serviceWorker" in navigator) {
  addEventListener("load", () => {
    if (/** @type {any} */ (navigator).connection?.saveData) return;
    navigator.serviceWorker.register(new URL(worker, location.href)).catch(() => {
      // Refused, as in some browsers' private windows: the site works as before, online.
    });
  });
}
