// @ts-check
// Starts the playground, or the module that the script element names in data-start: the module on
// a server, from a folder the one script beside it that packs all it needs (see files.js).
(function () {
  const self = /** @type {HTMLScriptElement} */ (document.currentScript);
  const start = new URL(self.dataset.start ?? "playground.js", self.src);
  const script = document.createElement("script");
  if (location.protocol === "file:") {
    script.src = new URL("folder.js", start).href;
  } else {
    script.type = "module";
    script.src = start.href;
  }
  document.head.append(script);
})();
