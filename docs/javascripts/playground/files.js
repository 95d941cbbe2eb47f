// @ts-check
/**
 * Reading the playground's files, on a server and from a folder.
 *
 * A page that was opened from a folder (file://) may neither import modules nor fetch files;
 * what it may do is run a classic script. So the site's build packs these modules, as they are,
 * and the files that they read into one such script, `folder.js`. start.js picks: on a server it
 * starts the modules, and a stage's weights travel when the reader chooses the stage; from a
 * folder, where nothing travels, it starts folder.js.
 */

/**
 * The bytes of a file.
 * @param {string} address relative to the playground's data folder
 * @returns {Promise<ArrayBuffer>}
 */
export async function readFile(address) {
  // By address, the files that folder.js brought along, in base64.
  /** @type {Record<string, string> | undefined} */
  const packed = /** @type {any} */ (globalThis).packedFiles;
  if (packed) return bytesOf(packed[address]).buffer;
  const response = await fetch(new URL(address, dataFolder()));
  if (!response.ok) throw new Error(`${address} cannot be read (${response.status})`);
  return response.arrayBuffer();
}

/**
 * What a JSON file says.
 * @param {string} address relative to the playground's data folder
 */
export async function readJson(address) {
  return JSON.parse(new TextDecoder().decode(await readFile(address)));
}

/**
 * Base64 as bytes.
 * @param {string} text
 */
export function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Where the data lies: an element of the page says so, relative to the page. */
function dataFolder() {
  const element = /** @type {HTMLElement | null} */ (document.querySelector("[data-files]"));
  const stated = element?.dataset.files ?? "./";
  return new URL(stated, document.baseURI);
}
