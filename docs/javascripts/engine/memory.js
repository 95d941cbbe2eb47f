// @ts-check
/**
 * The engine's code and its memory: what C calls an address is a number here.
 *
 * Nothing is given back; the memory goes with the Engine that it belongs to.
 */

const PAGE = 1 << 16; // bytes; memory grows by pages
const ALIGNED = 64;
const FUNCTIONS = ["lay_out", "problem", "prepare", "forward", "result", "loss", "backward", "update"];

export class Engine {
  /** @param {WebAssembly.Module} module engine.wasm, compiled */
  constructor(module) {
    const { exports } = new WebAssembly.Instance(module);
    /** The functions of network.h. @type {Record<string, (...given: number[]) => number>} */
    this.call = /** @type {any} */ (exports);
    if (FUNCTIONS.some((name) => typeof exports[name] !== "function")) {
      throw new Error("engine.wasm is another than these scripts expect: reload the page");
    }
    this.memory = /** @type {WebAssembly.Memory} */ (exports.memory);
    this.next = this.memory.buffer.byteLength; // what is below is C's own
    this.call._initialize?.();
  }

  /** The address of so many bytes. @param {number} bytes */
  allocate(bytes) {
    const address = this.next;
    this.next += Math.ceil(bytes / ALIGNED) * ALIGNED;
    const missing = this.next - this.memory.buffer.byteLength;
    try {
      if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    } catch {
      throw new RangeError(`the engine found no memory for ${Math.ceil(this.next / 1e6)} MB`);
    }
    return address;
  }

  /** Numbers in memory. Good until the next `allocate`. @param {number} at @param {number} count */
  floats(at, count) {
    return new Float32Array(this.memory.buffer, at, count);
  }

  /** @param {number} at @param {number} count */
  ints(at, count) {
    return new Int32Array(this.memory.buffer, at, count);
  }

  /** @param {number} at @param {number} count */
  bytes(at, count) {
    return new Uint8Array(this.memory.buffer, at, count);
  }

  /** A copy of these numbers in memory of its own. @param {ArrayLike<number>} numbers */
  doubles(numbers) {
    const address = this.allocate(8 * numbers.length);
    new Float64Array(this.memory.buffer, address, numbers.length).set(numbers);
    return address;
  }

  /** A text of C. @param {number} at */
  text(at) {
    const bytes = new Uint8Array(this.memory.buffer, at);
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
  }
}
