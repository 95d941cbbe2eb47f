/* The layers that are not convolutions, 16 images at a time. */

#include "vectors.h"

/* --- Batch normalization, with or without the ReLU that follows it -------------------------- */

double batch_norm_room(const Shape *shape) {
    const double rows = (double)shape->blocks * shape->height;
    return shape->channels
           * ((2 * rows + 6) * PARTS * sizeof(vec) + (2 * rows + 4) * sizeof(double));
}

static void spread(vec *to, const float *values, int channels) {
    for (int i = 0; i < channels * PARTS; i++) to[i] = (vec){0} + values[i / PARTS];
}

/* Means and variances (of the population) of x over all images and pixels: one pass, in which
   each row gives its own mean and squared deviations from it. Where the mean is far from 0, a
   sum of squares would lose what this keeps. */
static void batch_statistics(const float *x_, double *mean, double *variance, const Shape *shape,
                             void *room, int threads) {
    const int width = shape->width, channels = shape->channels;
    const int rows = shape->blocks * shape->height, vecs = channels * PARTS;
    vec *scratch = room;
    double *row_sums = (double *)(scratch + 2L * rows * vecs);
    const double count = (double)width * IMAGES;
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int row = 0; row < rows; row++) {
        const vec *x = (const vec *)x_ + (long)row * width * vecs;
        vec *restrict sums = scratch + 2L * row * vecs, *restrict centre = sums + vecs;
        double *means = row_sums + 2L * row * channels, *squares = means + channels;
        for (int i = 0; i < vecs; i++) sums[i] = (vec){0};
        for (int pixel = 0; pixel < width; pixel++)
            for (int i = 0; i < vecs; i++) sums[i] += x[pixel * vecs + i];
        gather(means, sums, channels);
        for (int channel = 0; channel < channels; channel++) {
            /* deviations are taken from the mean as a float, so that is the row's centre */
            const float rounded = means[channel] / count;
            for (int part = 0; part < PARTS; part++)
                centre[channel * PARTS + part] = (vec){0} + rounded;
        }
        for (int i = 0; i < vecs; i++) sums[i] = (vec){0};
        for (int pixel = 0; pixel < width; pixel++)
            for (int i = 0; i < vecs; i++) {
                const vec deviation = x[pixel * vecs + i] - centre[i];
                sums[i] += deviation * deviation;
            }
        gather(squares, sums, channels);
        for (int channel = 0; channel < channels; channel++) means[channel] /= count;
    }
    for (int channel = 0; channel < channels; channel++) {
        double sum = 0, square = 0;
        for (int row = 0; row < rows; row++) sum += row_sums[2L * row * channels + channel];
        mean[channel] = sum / rows;
        for (int row = 0; row < rows; row++) {
            const double *of_row = row_sums + 2L * row * channels + channel;
            const double distance = of_row[0] - mean[channel];
            square += of_row[channels] + count * distance * distance;
        }
        variance[channel] = square / (count * rows);
    }
}

void scale_and_shift(const float *x_, const float *scale, const float *shift, float *y_, int relu,
                     const Shape *shape, void *scratch, int threads) {
    const int width = shape->width, channels = shape->channels;
    const int rows = shape->blocks * shape->height, vecs = channels * PARTS;
    vec *scales = scratch, *shifts = scales + vecs;
    spread(scales, scale, channels);
    spread(shifts, shift, channels);
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int row = 0; row < rows; row++) {
        const vec *x = (const vec *)x_ + (long)row * width * vecs;
        vec *y = (vec *)y_ + (long)row * width * vecs;
        for (int pixel = 0; pixel < width; pixel++, x += vecs, y += vecs)
            for (int i = 0; i < vecs; i++) {
                const vec value = x[i] * scales[i] + shifts[i];
                y[i] = relu ? rectified(value) : value;
            }
    }
}

/* saved: mean, inverse_sd, scale, shift of each channel; y = x * scale + shift. */
void batch_norm(const float *x, const float *weight, const float *bias, float *running_mean,
                float *running_variance, double momentum, double eps, float *saved, float *y,
                int relu, const Shape *shape, void *scratch, int threads) {
    const int channels = shape->channels;
    double *mean = scratch, *variance = mean + channels;
    batch_statistics(x, mean, variance, shape, (vec *)scratch + channels * PARTS, threads);
    const double count = (double)shape->blocks * IMAGES * shape->height * shape->width;
    float *means = saved, *inverse_sd = means + channels;
    float *scale = inverse_sd + channels, *shift = scale + channels;
    for (int i = 0; i < channels; i++) {
        means[i] = mean[i];
        inverse_sd[i] = 1 / sqrt(variance[i] + eps);
        scale[i] = weight[i] * inverse_sd[i];
        shift[i] = bias[i] - mean[i] * scale[i];
        running_mean[i] += momentum * (mean[i] - running_mean[i]);
        running_variance[i] += momentum * (variance[i] * count / (count - 1) - running_variance[i]);
    }
    scale_and_shift(x, scale, shift, y, relu, shape, scratch, threads);
}

/* Batch normalization backward. With g = dy where the output was positive (everywhere without
   relu) and xhat = (x - mean) * inverse_sd:
       dbias = sum g,   dweight = sum g xhat,
       dx = scale * (g - mean g - xhat * mean (g xhat)),   scale = weight * inverse_sd
   (Ioffe and Szegedy 2015, section 3.) */
void batch_norm_backward(const float *x_, float *gradient, const float *saved, float *dweight,
                         float *dbias, int relu, const Shape *shape, void *room, int threads) {
    const int width = shape->width, channels = shape->channels;
    const float *mean = saved, *inverse_sd = mean + channels;
    const float *scale = inverse_sd + channels, *shift = scale + channels;
    const int rows = shape->blocks * shape->height, vecs = channels * PARTS;
    const double count = (double)rows * width * IMAGES;
    vec *means = room, *scales = means + vecs, *shifts = scales + vecs;
    vec *of_g = shifts + vecs, *of_x = of_g + vecs, *rest = of_x + vecs;
    vec *scratch = rest + vecs;
    double *totals = (double *)(scratch + 2L * rows * vecs);
    spread(means, mean, channels);
    spread(scales, scale, channels);
    spread(shifts, shift, channels);
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int row = 0; row < rows; row++) {
        const vec *restrict x = (const vec *)x_ + (long)row * width * vecs;
        const vec *restrict dy = (const vec *)gradient + (long)row * width * vecs;
        vec *restrict sums = scratch + 2L * row * vecs, *restrict products = sums + vecs;
        for (int i = 0; i < 2 * vecs; i++) sums[i] = (vec){0};
        for (int pixel = 0; pixel < width; pixel++, x += vecs, dy += vecs)
            for (int i = 0; i < vecs; i++) {
                vec g = dy[i];
                if (relu) g = passed(g, x[i] * scales[i] + shifts[i]);
                sums[i] += g;
                products[i] += g * (x[i] - means[i]);
            }
    }
    double *sums = totals, *products = totals + channels, *of_row = totals + 2 * channels;
    for (int channel = 0; channel < 2 * channels; channel++) totals[channel] = 0;
    for (int row = 0; row < rows; row++) {
        gather(of_row, scratch + 2L * row * vecs, 2 * channels);
        for (int channel = 0; channel < 2 * channels; channel++) totals[channel] += of_row[channel];
    }
    for (int channel = 0; channel < channels; channel++) {
        const double sd = inverse_sd[channel];
        const double by_x = -scale[channel] * products[channel] / count * sd * sd;
        dbias[channel] = sums[channel];
        dweight[channel] = products[channel] * sd;
        for (int part = 0; part < PARTS; part++) {
            const int i = channel * PARTS + part;
            of_g[i] = scales[i];
            of_x[i] = (vec){0} + (float)by_x;
            rest[i] = (vec){0}
                + (float)(-scale[channel] * sums[channel] / count - by_x * mean[channel]);
        }
    }
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int row = 0; row < rows; row++) {
        const vec *restrict x = (const vec *)x_ + (long)row * width * vecs;
        vec *restrict dy = (vec *)gradient + (long)row * width * vecs;
        for (int pixel = 0; pixel < width; pixel++, x += vecs, dy += vecs)
            for (int i = 0; i < vecs; i++) {
                vec g = dy[i];
                if (relu) g = passed(g, x[i] * scales[i] + shifts[i]);
                dy[i] = g * of_g[i] + (x[i] * of_x[i] + rest[i]);
            }
    }
}

/* --- Other layers --------------------------------------------------------------------------- */

void relu(const float *x_, float *y_, const Shape *shape, int threads) {
    const long vecs = (long)shape->width * shape->channels * PARTS;
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int row = 0; row < shape->blocks * shape->height; row++) {
        const vec *x = (const vec *)x_ + row * vecs;
        vec *y = (vec *)y_ + row * vecs;
        for (long i = 0; i < vecs; i++) y[i] = rectified(x[i]);
    }
}

void relu_backward(const float *y_, float *gradient, const Shape *shape, int threads) {
    const long vecs = (long)shape->width * shape->channels * PARTS;
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int row = 0; row < shape->blocks * shape->height; row++) {
        const vec *restrict y = (const vec *)y_ + row * vecs;
        vec *restrict dy = (vec *)gradient + row * vecs;
        for (long i = 0; i < vecs; i++) dy[i] = passed(dy[i], y[i]);
    }
}

/* Where a window starts among a map's vecs. */
#define INPUT_OF_WINDOW(p, block, row, column) \
    ((((long)(block) * (p)->height + (row) * (p)->down) * (p)->width + (column) * (p)->across) \
     * (p)->channels * PARTS)

#define EACH_ROW_OF_WINDOWS(p) \
    const int rows = ((p)->height - (p)->window_height) / (p)->down + 1; \
    const int columns = ((p)->width - (p)->window_width) / (p)->across + 1; \
    const int vecs = (p)->channels * PARTS; \
    const long in_row = (long)(p)->width * vecs; \
    /* windows that share pixels are of one block, and so of one thread */ \
    _Pragma("omp parallel for num_threads(threads) if (threads > 1)") \
    for (int block = 0; block < (p)->blocks; block++) \
        for (int row = 0; row < rows; row++)

/* Windows share rows and columns, and so their gradients add up. */
static int overlap(const Pooling *p) {
    return p->down < p->window_height || p->across < p->window_width;
}

/* Whether some rows or columns are in no window, or in several. */
static int unlike_tiles(const Pooling *p) {
    return p->down != p->window_height || p->across != p->window_width
           || p->height % p->window_height || p->width % p->window_width;
}

static void clear(float *dx, const Pooling *p) {
    memset(dx, 0, sizeof(vec) * PARTS * p->blocks * p->height * p->width * p->channels);
}

void max_pool(const float *x_, float *y_, const Pooling *p, int threads) {
    EACH_ROW_OF_WINDOWS(p) {
        vec *y = (vec *)y_ + ((long)block * rows + row) * columns * vecs;
        for (int column = 0; column < columns; column++, y += vecs) {
            const vec *x = (const vec *)x_ + INPUT_OF_WINDOW(p, block, row, column);
            for (int i = 0; i < vecs; i++) {
                vec most = x[i];
                for (int down = 0; down < p->window_height; down++)
                    for (int right = 0; right < p->window_width; right++) {
                        const vec value = x[down * in_row + right * vecs + i];
                        /* also where it is a NaN, as in PyTorch */
                        const mask more = ~(mask)(value <= most);
                        most = (vec)(((mask)value & more) | ((mask)most & ~more));
                    }
                y[i] = most;
            }
        }
    }
}

/* The gradient goes to the first of a window's largest values, as in PyTorch. */
void max_pool_backward(const float *x_, const float *y_, const float *dy_, float *dx_, int relu,
                       const Pooling *p, int threads) {
    if (unlike_tiles(p)) clear(dx_, p);
    const int add = overlap(p);
    EACH_ROW_OF_WINDOWS(p) {
        const vec *y = (const vec *)y_ + ((long)block * rows + row) * columns * vecs;
        const vec *dy = (const vec *)dy_ + ((long)block * rows + row) * columns * vecs;
        for (int column = 0; column < columns; column++, y += vecs, dy += vecs) {
            const long place = INPUT_OF_WINDOW(p, block, row, column);
            const vec *restrict x = (const vec *)x_ + place;
            vec *restrict dx = (vec *)dx_ + place;
            for (int i = 0; i < vecs; i++) {
                const vec gradient = relu ? passed(dy[i], y[i]) : dy[i];
                mask left = ~(mask){0};  /* no largest value met yet */
                for (int down = 0; down < p->window_height; down++)
                    for (int right = 0; right < p->window_width; right++) {
                        const long at = down * in_row + right * vecs + i;
                        const mask here = left & (mask)(x[at] == y[i]);
                        vec given = (vec)((mask)gradient & here);
                        if (add) given += dx[at];
                        dx[at] = given;
                        left &= ~here;
                    }
            }
        }
    }
}

void average_pool(const float *x_, float *y_, const Pooling *p, int threads) {
    const float share = 1.0f / (p->window_height * p->window_width);
    EACH_ROW_OF_WINDOWS(p) {
        vec *y = (vec *)y_ + ((long)block * rows + row) * columns * vecs;
        for (int column = 0; column < columns; column++, y += vecs) {
            const vec *x = (const vec *)x_ + INPUT_OF_WINDOW(p, block, row, column);
            for (int i = 0; i < vecs; i++) {
                vec sum = {0};
                for (int down = 0; down < p->window_height; down++)
                    for (int right = 0; right < p->window_width; right++)
                        sum += x[down * in_row + right * vecs + i];
                y[i] = sum * share;
            }
        }
    }
}

void average_pool_backward(const float *dy_, float *dx_, const Pooling *p, int threads) {
    const float share = 1.0f / (p->window_height * p->window_width);
    if (unlike_tiles(p)) clear(dx_, p);
    const int add = overlap(p);
    EACH_ROW_OF_WINDOWS(p) {
        const vec *dy = (const vec *)dy_ + ((long)block * rows + row) * columns * vecs;
        for (int column = 0; column < columns; column++, dy += vecs) {
            vec *dx = (vec *)dx_ + INPUT_OF_WINDOW(p, block, row, column);
            for (int i = 0; i < vecs; i++)
                for (int down = 0; down < p->window_height; down++)
                    for (int right = 0; right < p->window_width; right++) {
                        vec *at = dx + down * in_row + right * vecs + i;
                        vec given = dy[i] * share;
                        if (add) given += *at;
                        *at = given;
                    }
        }
    }
}
