// @ts-check
/**
 * What two texts have in common, line by line.
 */

/** @typedef {{sign: " " | "-" | "+", line: string}} Difference */

/**
 * The lines of both texts in one list: kept, taken away from the first, added by the second.
 *
 * The longest list of lines that both have, in order, is kept. `common[i][j]` is its length for the
 * first text from line i on and the second from line j on, so the table is filled from its end.
 * @param {string[]} before @param {string[]} after
 * @returns {Difference[]}
 */
export function difference(before, after) {
  const common = Array.from({ length: before.length + 1 }, () => Array(after.length + 1).fill(0));
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      common[i][j] =
        before[i] === after[j]
          ? common[i + 1][j + 1] + 1
          : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  /** @type {Difference[]} */
  const found = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      found.push({ sign: " ", line: before[i++] });
      j++;
    } else if (j === after.length || (i < before.length && common[i + 1][j] >= common[i][j + 1])) {
      found.push({ sign: "-", line: before[i++] });
    } else {
      found.push({ sign: "+", line: after[j++] });
    }
  }
  return found;
}
