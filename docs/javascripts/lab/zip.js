// @ts-check
/**
 * A zip of a few small files, without compression: each file behind a header of its own, at the end
 * a directory of all. The form is that of PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.
 */

const LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50;
const VERSION = 20; // 2.0, the least that readers have
const UTF_8 = 1 << 11; // names are written in it
const DATE = (0 << 9) | (1 << 5) | 1; // 1 January 1980: the same files give the same zip

/**
 * @param {Record<string, string | Uint8Array>} files by name
 * @returns {Uint8Array}
 */
export function zip(files) {
  const encoder = new TextEncoder();
  /** @type {Uint8Array[]} */
  const parts = [];
  /** @type {Uint8Array[]} */
  const directory = [];
  let at = 0;
  for (const [name, content] of Object.entries(files)) {
    const bytes = typeof content === "string" ? encoder.encode(content) : content;
    const called = encoder.encode(name);
    /** Of both headers: @type {[number, number][]} bytes and value */
    const common = [
      [2, VERSION], [2, UTF_8], [2, 0], [2, 0], [2, DATE], [4, crc32(bytes)],
      [4, bytes.length], [4, bytes.length], [2, called.length], [2, 0],
    ];
    parts.push(packed([[4, LOCAL], ...common]), called, bytes);
    directory.push(
      packed([[4, CENTRAL], [2, VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]]),
      called,
    );
    at += 30 + called.length + bytes.length;
  }
  const entries = directory.length / 2;
  const size = length(directory);
  const end = packed([
    [4, END], [2, 0], [2, 0], [2, entries], [2, entries], [4, size], [4, at], [2, 0],
  ]);
  return joined([...parts, ...directory, end]);
}

/** Numbers of 2 or 4 bytes, the lowest byte first. @param {[number, number][]} fields */
function packed(fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [width]) => sum + width, 0));
  let at = 0;
  for (const [width, value] of fields) {
    for (let i = 0; i < width; i++) bytes[at++] = (value >>> (8 * i)) & 0xff;
  }
  return bytes;
}

/** @param {Uint8Array[]} parts */
function length(parts) {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const all = new Uint8Array(length(parts));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The checksum that zip asks for, bit by bit: the files are short. @param {Uint8Array} bytes */
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
