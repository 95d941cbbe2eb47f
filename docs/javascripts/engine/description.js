// @ts-check
/**
 * Layers as the list of numbers that the engine reads.
 *
 * A layer is what a line of model.json says: {name, kind, attributes}, with the names of torch.nn.
 * The engine checks every number; what it has no number for is refused here.
 *
 * @typedef {{name: string, kind: string, attributes: any}} Layer
 *
 * A tensor that belongs to a layer. Those that are trained have a gradient.
 * @typedef {{name: string, size: number, trained: boolean, start: number}} Tensor
 */

/** As enum Kind in network.h. */
const CONVOLUTION = 0, BATCH_NORM = 1, RELU = 2, MAX_POOL = 3, AVERAGE_POOL = 4;

/** An average pool over the whole map, whatever its size. */
const WHOLE_MAP = [0, 0];

/** Two of what is one number or two. @param {any} size @returns {number[]} */
const both = (size) => {
  if (!Array.isArray(size)) return [size, size];
  return size.length === 2 ? size : [NaN, NaN];
};

/** @param {any} value @param {number} usual whether value is that, or left out */
const is = (value, usual) => both(value ?? usual).every((number) => number === usual);

/**
 * What each kind of layer is in numbers; null where its attributes ask for more.
 * @type {Record<string, (attributes: any) => number[] | null>}
 */
const KINDS = {
  Conv2d: (a) => {
    const [stride, across] = both(a.stride ?? 1);
    const [dilation, dilationAcross] = both(a.dilation ?? 1);
    const usual = is(a.groups, 1) && (a.padding_mode ?? "zeros") === "zeros";
    if (!usual || stride !== across || dilation !== dilationAcross) return null;
    const sizes = [...both(a.kernel_size), stride, dilation, ...both(a.padding ?? 0)];
    return [CONVOLUTION, a.in_channels, a.out_channels, ...sizes, a.bias ? 1 : 0, 0];
  },
  BatchNorm2d: (a) =>
    a.affine === false || a.track_running_stats === false || a.momentum === null
      ? null
      : [BATCH_NORM, a.num_features, a.momentum ?? 0.1, a.eps ?? 1e-5],
  ReLU: () => [RELU],
  MaxPool2d: (a) => pool(MAX_POOL, a),
  AvgPool2d: (a) => pool(AVERAGE_POOL, a),
  AdaptiveAvgPool2d: (a) => (is(a.output_size, 1) ? [AVERAGE_POOL, ...WHOLE_MAP, 1, 1] : null),
};

/** @param {number} kind @param {any} a */
function pool(kind, a) {
  const window = both(a.kernel_size), stride = both(a.stride ?? window);
  const usual = is(a.padding, 0) && is(a.dilation, 1) && !a.ceil_mode && a.divisor_override == null;
  return usual ? [kind, ...window, ...stride] : null;
}

/**
 * The layers of a network in numbers, without its end: Flatten and LogSoftmax belong to the loss.
 * @param {Layer[]} layers
 * @returns {number[]}
 */
export function describe(layers) {
  const end = layers.slice(-2).map(({ kind }) => kind);
  if (end.join() !== "Flatten,LogSoftmax") {
    throw new Error("a network for the engine ends with Flatten and LogSoftmax");
  }
  return layers.slice(0, -2).flatMap(({ name, kind, attributes }) => {
    const numbers = Object.hasOwn(KINDS, kind) ? KINDS[kind](attributes ?? {}) : null;
    if (!numbers) throw new Error(`${name}: the engine does not have this ${kind}`);
    return numbers;
  });
}

/**
 * The tensors of the layers, in the order in which the engine takes them.
 * @param {Layer[]} layers
 * @returns {Tensor[]}
 */
export function tensorsOf(layers) {
  return layers.flatMap(({ name, kind, attributes: a }) => {
    /** @param {string} part @param {number} size @param {boolean} trained @param {number} start */
    const tensor = (part, size, trained, start = 0) => {
      return { name: `${name}.${part}`, size, trained, start };
    };
    if (kind === "Conv2d") {
      const [height, width] = both(a.kernel_size);
      const size = a.out_channels * a.in_channels * height * width;
      return [
        tensor("weight", size, true),
        ...(a.bias ? [tensor("bias", a.out_channels, true)] : []),
      ];
    }
    if (kind !== "BatchNorm2d") return [];
    return [
      tensor("weight", a.num_features, true, 1),
      tensor("bias", a.num_features, true),
      tensor("running_mean", a.num_features, false),
      tensor("running_var", a.num_features, false, 1),
    ];
  });
}
