// @ts-check
/**
 * Tensors as text and back, for what the browser keeps: 32-bit floats, the lowest byte first, in
 * base64.
 */

import { bytesOf } from "../playground/files.js";

/** @typedef {Record<string, Float32Array>} Tensors */

/** @param {Tensors} tensors @returns {Record<string, string>} */
export function asText(tensors) {
  const texts = Object.entries(tensors).map(([name, numbers]) => {
    const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return [name, btoa(text)];
  });
  return Object.fromEntries(texts);
}

/** @param {Record<string, string>} texts @returns {Tensors} */
export function fromText(texts) {
  const tensors = Object.entries(texts).map(([name, text]) => {
    return [name, new Float32Array(bytesOf(text).buffer)];
  });
  return Object.fromEntries(tensors);
}
