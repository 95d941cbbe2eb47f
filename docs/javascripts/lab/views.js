// @ts-check
/**
 * How a network is judged: by each image once, and by the mean of nine views of it, shifted by a
 * pixel or not at all. mnist_steps/evaluation.py judges the same way.
 *
 * @typedef {{right: number, images: number, loss: number}} Judgement
 * @typedef {{oneView: Judgement, nineViews: Judgement | null, answers: Uint8Array,
 *            sure: Float32Array}} Judged
 *   `answers`: the digit read in each image, by the most views there are; `sure`: its probability
 */

const SIZE = 28;
const PIXELS = SIZE * SIZE;
const CLASSES = 10;
const AT_ONCE = 1280; // images between two looks at what the page wants

/**
 * @param {(images: Uint8Array) => Float32Array} evaluate ten log-probabilities for each image
 * @param {Uint8Array} images @param {Uint8Array} labels
 * @param {number} reach 0 for one view, 1 for nine
 * @param {() => Promise<void>} breathe called now and then
 * @returns {Promise<Judged>}
 */
export async function judge(evaluate, images, labels, reach, breathe) {
  const sum = new Float32Array(CLASSES * labels.length);
  let oneView = sum;
  for (let down = -reach; down <= reach; down++) {
    for (let right = -reach; right <= reach; right++) {
      const view = new Float32Array(sum.length);
      for (let first = 0; first < labels.length; first += AT_ONCE) {
        const part = images.subarray(first * PIXELS, (first + AT_ONCE) * PIXELS);
        view.set(evaluate(down || right ? shifted(part, down, right) : part), first * CLASSES);
        await breathe();
      }
      if (!down && !right) oneView = view;
      view.forEach((value, i) => (sum[i] += value));
    }
  }
  const views = (2 * reach + 1) ** 2;
  const mean = views === 1 ? oneView : normalized(sum.map((value) => value / views));
  const { answers, sure } = answersOf(mean);
  return {
    oneView: judgementOf(oneView, labels),
    nineViews: reach ? judgementOf(mean, labels) : null,
    answers,
    sure,
  };
}

/**
 * Images moved by whole pixels; what leaves at one edge is lost, and 0 enters at the other.
 * @param {Uint8Array} images @param {number} down @param {number} right
 */
export function shifted(images, down, right) {
  const moved = new Uint8Array(images.length);
  const [from, to] = [Math.max(0, -right), Math.min(SIZE, SIZE - right)]; // columns that stay
  for (let start = 0; start < images.length; start += PIXELS) {
    for (let row = Math.max(0, -down); row < Math.min(SIZE, SIZE - down); row++) {
      const place = start + row * SIZE;
      moved.set(images.subarray(place + from, place + to), place + down * SIZE + from + right);
    }
  }
  return moved;
}

/** @param {Float32Array} logs @param {Uint8Array} labels @returns {Judgement} */
function judgementOf(logs, labels) {
  const { answers } = answersOf(logs);
  let right = 0, loss = 0;
  labels.forEach((label, i) => {
    right += Number(answers[i] === label);
    loss -= logs[CLASSES * i + label] / labels.length;
  });
  return { right, images: labels.length, loss };
}

/** @param {Float32Array} logs */
function answersOf(logs) {
  const answers = new Uint8Array(logs.length / CLASSES);
  const sure = new Float32Array(answers.length);
  for (let i = 0; i < answers.length; i++) {
    const ten = logs.subarray(CLASSES * i, CLASSES * (i + 1));
    answers[i] = ten.indexOf(Math.max(...ten));
    sure[i] = Math.exp(ten[answers[i]]);
  }
  return { answers, sure };
}

/** A mean of logarithms, so that ten probabilities sum to 1 again. @param {Float32Array} logs */
function normalized(logs) {
  for (let i = 0; i < logs.length; i += CLASSES) {
    const ten = logs.subarray(i, i + CLASSES);
    const log = Math.log(ten.reduce((sum, value) => sum + Math.exp(value), 0));
    ten.forEach((value, k) => (ten[k] = value - log));
  }
  return logs;
}
