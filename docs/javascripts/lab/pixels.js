// @ts-check

/** The mean and the standard deviation of MNIST's training pixels, as in mnist_steps/recipes.py. */
export const PIXELS = { mean: 0.1307, sd: 0.3081 };
