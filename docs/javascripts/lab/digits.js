// @ts-check
/**
 * MNIST in the page: fetched when it is wanted, checked, and kept by the browser.
 *
 * The four files are those of the package, compressed. files.json, which the site's build writes,
 * says what they have to be once unpacked; nothing else is trained with, or kept.
 *
 * @typedef {{name: string, packed: number, unpacked: number, sha256: string}} File
 *   `packed`, `unpacked`: bytes
 *
 * @typedef {{images: Uint8Array, labels: Uint8Array}} Digits
 *   28 × 28 bytes an image, 0 is paper and 255 is ink; a label is the digit
 */

export const SIZE = 28;
const PIXELS = SIZE * SIZE;

/** What an IDX file of bytes begins with: two zeros, the type, and how many dimensions follow. */
const IMAGES = 0x00000803, LABELS = 0x00000801;

/** Kept under this name; offline.js leaves it alone. */
const KEPT = "mnist-digits";

/**
 * Both files of a set, checked.
 * @param {string} set "train" or "t10k" @param {string} folder their address, with a slash
 * @param {(name: string, received: number) => void} onProgress bytes so far, as they come
 * @returns {Promise<Digits>}
 */
export async function digitsOf(set, folder, onProgress) {
  const files = await listed(folder);
  const of = async (/** @type {string} */ kind) => {
    const file = files.find(({ name }) => name.startsWith(`${set}-${kind}`));
    if (!file) throw new Error(`files.json does not name the ${kind} of ${set}`);
    return { name: file.name, bytes: await read(file, folder, onProgress) };
  };
  const labels = await of("labels"), images = await of("images");
  const digits = {
    images: imagesIn(images.bytes, images.name),
    labels: labelsIn(labels.bytes, labels.name),
  };
  if (digits.images.length !== PIXELS * digits.labels.length) {
    const found = digits.images.length / PIXELS;
    throw new Error(`found ${found} images and ${digits.labels.length} labels in ${set}`);
  }
  return digits;
}

/** What the files are to be. @param {string} folder @returns {Promise<File[]>} */
export async function listed(folder) {
  const answer = await answered(new URL("files.json", folder).href);
  return answer.json();
}

/**
 * A file, unpacked: the one that is kept, or fetched and, once it is known to be right, kept.
 * @param {File} file @param {string} folder
 * @param {(name: string, received: number) => void} onProgress
 */
async function read(file, folder, onProgress) {
  const address = new URL(`${file.name}.gz`, folder).href;
  const kept = await keptAnswers();
  const before = await kept?.match(address);
  if (before) {
    try {
      return await checked(new Uint8Array(await before.arrayBuffer()), file);
    } catch {
      await kept?.delete(address); // damaged on the disk, or of another day: fetch it anew
    }
  }
  const answer = await answered(address);
  const packed = await received(answer, file, (bytes) => onProgress(file.name, bytes));
  const bytes = await checked(packed, file);
  try {
    await kept?.put(address, new Response(packed));
  } catch {
    // No room: the training does not need it, and the next one fetches it again.
  }
  return bytes;
}

/** Where the browser keeps answers; null where it keeps none, as on an address without https. */
async function keptAnswers() {
  try {
    return await caches.open(KEPT);
  } catch {
    return null;
  }
}

/** @param {string} address */
async function answered(address) {
  const name = address.split("/").at(-1);
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch(address);
  } catch {
    throw new Error(`${name} could not be fetched: is there a network? Then start again`);
  }
  if (!answer.ok) throw new Error(`${name} is not on this server (it answers ${answer.status})`);
  return answer;
}

/**
 * The bytes of an answer. Its length is looked at later: some servers unpack on the way.
 * @param {Response} answer @param {File} file @param {(bytes: number) => void} onProgress
 */
async function received(answer, file, onProgress) {
  const parts = [];
  let count = 0;
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      count += part.value.length;
      onProgress(count);
    }
  } catch {
    const of = `${count} of ${file.packed} bytes`;
    throw new Error(`${file.name} broke off after ${of}: start again to fetch it anew`);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/**
 * A file's content, unpacked, if it is the right one.
 * @param {Uint8Array} bytes as they came; a server may have unpacked them on the way
 * @param {File} file
 */
export async function checked(bytes, file) {
  const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b;
  const content = isPacked ? await unpacked(bytes, file) : bytes;
  if (content.length !== file.unpacked) {
    const found = `${content.length} bytes, expected ${file.unpacked}`;
    throw new Error(`${file.name} is damaged: found ${found}. Start again to fetch it anew`);
  }
  const digest = await sha256(content);
  if (digest !== null && digest !== file.sha256) {
    const found = `its SHA-256 begins with ${digest.slice(0, 12)}, not ${file.sha256.slice(0, 12)}`;
    throw new Error(`${file.name} is not the file that this site was built with: ${found}`);
  }
  return content;
}

/** @param {Uint8Array} bytes @param {File} file */
async function unpacked(bytes, file) {
  const content = new Uint8Array(file.unpacked);
  let count = 0;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const reader = stream.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      content.set(part.value, count);
      count += part.value.length;
    }
  } catch {
    const of = `${bytes.length} bytes, expected ${file.packed}`;
    throw new Error(`${file.name} cannot be unpacked: found ${of}. Start again to fetch it anew`);
  }
  return content.subarray(0, count);
}

/**
 * In hexadecimal; null where the browser has no digests, as on an address without https. There the
 * file's own checksum, which unpacking looks at, has to do.
 * @param {Uint8Array} bytes
 */
async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The pixels of an IDX file of images. @param {Uint8Array} bytes @param {string} name */
export function imagesIn(bytes, name) {
  const [count, height, width] = headerOf(bytes, name, IMAGES, 3);
  if (height !== SIZE || width !== SIZE) {
    throw new Error(`${name}: found images of ${height} × ${width} pixels, expected 28 × 28`);
  }
  return rest(bytes, name, 16, count * PIXELS);
}

/** The labels of an IDX file of labels. @param {Uint8Array} bytes @param {string} name */
export function labelsIn(bytes, name) {
  const [count] = headerOf(bytes, name, LABELS, 1);
  return rest(bytes, name, 8, count);
}

/** @param {Uint8Array} bytes @param {string} name @param {number} expected @param {number} sizes */
function headerOf(bytes, name, expected, sizes) {
  if (bytes.length < 4 * (1 + sizes)) {
    throw new Error(`${name} ends within its header: found ${bytes.length} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const found = view.getUint32(0);
  if (found !== expected) {
    const hex = found.toString(16).padStart(8, "0");
    const wanted = expected.toString(16).padStart(8, "0");
    throw new Error(`${name} is no such IDX file: it begins with ${hex}, expected ${wanted}`);
  }
  return Array.from({ length: sizes }, (_, i) => view.getUint32(4 + 4 * i));
}

/** @param {Uint8Array} bytes @param {string} name @param {number} start @param {number} length */
function rest(bytes, name, start, length) {
  if (bytes.length !== start + length) {
    const found = bytes.length - start;
    throw new Error(`${name}: found ${found} bytes behind its header, which speaks of ${length}`);
  }
  return bytes.subarray(start);
}
