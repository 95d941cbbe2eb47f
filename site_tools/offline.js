// @ts-check
// The site without a network. A service worker: it runs beside the pages and answers for them.
//
// The site's build writes this file to the site's root with the list of the site's files. When it is
// installed it keeps all of them; then every request goes to the network first, so nobody reads an
// old page while there is one, and to what was kept when that fails. The Lab keeps the digits that it
// trains with by itself, in a cache with a name of another kind, which stays.

const VERSION = "__VERSION__"; // changes with any file, and then the browser installs this anew
/** @type {string[]} */
const FILES = JSON.parse('__FILES__');

const self = /** @type {any} */ (globalThis);

self.addEventListener("install", (/** @type {any} */ event) => {
  event.waitUntil(
    caches
      .open(VERSION)
      // From the server and not from the browser's own cache, which may hold pages of yesterday.
      .then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "reload" }))))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (/** @type {any} */ event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => names.filter((name) => name.startsWith("mnist-steps-") && name !== VERSION))
      .then((old) => Promise.all(old.map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (/** @type {any} */ event) => {
  if (event.request.method !== "GET") return;
  if (new URL(event.request.url).origin !== location.origin) return;
  event.respondWith(answer(event.request));
});

/** @param {Request} request */
async function answer(request) {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await caches.match(request, { cacheName: VERSION, ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
