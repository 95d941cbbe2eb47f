// @ts-check
// Starts the moving figures of a page: for each kind of them the module of that name, or from a
// folder (file://), where pages may not load modules, the one script that packs all it needs.
(function () {
  const self = /** @type {HTMLScriptElement} */ (document.currentScript);
  const places = [...document.querySelectorAll("[data-moving]")];
  for (const name of new Set(places.map((place) => place.getAttribute("data-moving")))) {
    const script = document.createElement("script");
    const fromFolder = location.protocol === "file:";
    if (!fromFolder) script.type = "module";
    script.src = new URL(`${name}${fromFolder ? ".folder" : ""}.js`, self.src).href;
    document.head.append(script);
  }
})();
