// @ts-check
// Starts the playground: its modules on a server, one packed script from a folder (see files.js).
(function () {
  const here = /** @type {HTMLScriptElement} */ (document.currentScript).src;
  const script = document.createElement("script");
  if (location.protocol === "file:") {
    script.src = new URL("folder.js", here).href;
  } else {
    script.type = "module";
    script.src = new URL("playground.js", here).href;
  }
  document.head.append(script);
})();
