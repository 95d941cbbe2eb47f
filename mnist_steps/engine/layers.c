/* Layers of small convolutional networks, 16 images at a time; layers.h says how they lie.

What is called a vec below is one pixel of one channel of WIDTH images; PARTS of them make the
sixteen. A result does not depend on the number of threads: what threads add up, they add up in
separate places, and one of them joins these in order. */

#include "layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined __AVX512F__
#define WIDTH 16
#elif defined __AVX__
#define WIDTH 8
#else
#define WIDTH 4
#endif
#define PARTS (IMAGES / WIDTH)

/* aligned(4): PyTorch aligns its memory, but nothing here needs it. */
typedef float vec __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

/* For a vec that is used more than once: compilers would read it from memory each time. */
#if defined __x86_64__
#define IN_REGISTER(value) __asm__("" : "+x"(value))
#else
#define IN_REGISTER(value)
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE long in_weight(const Convolution *c, int out, int in, int row, int column) {
    return out * c->next_out + in * c->next_in + row * c->next_row + column * c->next_column;
}

static int smaller(int a, int b) { return a < b ? a : b; }
static int larger(int a, int b) { return a > b ? a : b; }

/* Output channels go in groups as equal as possible. The sums of one group stay in registers:
   6 channels in 2 vecs each, of 16 registers, or 12 in one each, of 32. */
#if defined __AVX512F__
#define LARGEST_GROUP 12
#else
#define LARGEST_GROUP 6
#endif
static int groups_of(int channels) { return (channels + LARGEST_GROUP - 1) / LARGEST_GROUP; }
static int group_start(int group, int channels) { return group * channels / groups_of(channels); }

#if LARGEST_GROUP > 6
#define WITH_LARGER_CONSTANT(function, ...) \
    case 6: function(__VA_ARGS__, 6); break; \
    case 7: function(__VA_ARGS__, 7); break; \
    case 8: function(__VA_ARGS__, 8); break; \
    case 9: function(__VA_ARGS__, 9); break; \
    case 10: function(__VA_ARGS__, 10); break; \
    case 11: function(__VA_ARGS__, 11); break;
#else
#define WITH_LARGER_CONSTANT(function, ...)
#endif

/* Calls `function(..., size)` with size a constant, so that the compiler unrolls its loops. */
#define WITH_CONSTANT(size, function, ...) \
    switch (size) { \
    case 1: function(__VA_ARGS__, 1); break; \
    case 2: function(__VA_ARGS__, 2); break; \
    case 3: function(__VA_ARGS__, 3); break; \
    case 4: function(__VA_ARGS__, 4); break; \
    case 5: function(__VA_ARGS__, 5); break; \
    WITH_LARGER_CONSTANT(function, __VA_ARGS__) \
    default: function(__VA_ARGS__, LARGEST_GROUP); \
    }

/* value, but 0 where `by` is not above 0. A NaN compares false, and lets pass. */
INLINE vec passed(vec value, vec by) { return (vec)((mask)value & ~(mask)(by <= 0)); }
INLINE vec rectified(vec value) { return passed(value, value); }

/* One output pixel of `size` channels: `run` neighbouring vecs in each of `rows` input rows. */
INLINE void pixel(const vec *restrict in, const float *restrict weights, const float *bias,
                  vec *restrict out, int rows, int run, long in_row, long weights_row, int relu,
                  const vec *by, const int size) {
    vec sum[LARGEST_GROUP][PARTS];
    for (int channel = 0; channel < size; channel++)
        for (int part = 0; part < PARTS; part++)
            sum[channel][part] = (vec){0} + (bias ? bias[channel] : 0);
    for (int row = 0; row < rows; row++) {
        const vec *x = in + row * in_row;
        const float *w = weights + row * weights_row;
        for (int i = 0; i < run; i++, x += PARTS, w += size)
            for (int channel = 0; channel < size; channel++)
                for (int part = 0; part < PARTS; part++)
                    sum[channel][part] += w[channel] * x[part];
    }
    for (int channel = 0; channel < size; channel++)
        for (int part = 0; part < PARTS; part++) {
            const int i = channel * PARTS + part;
            const vec value = sum[channel][part];
            out[i] = relu ? rectified(value) : by ? passed(value, by[i]) : value;
        }
}

/* y = convolution of x; bias may be NULL; 0 with relu where that is below 0, or where `by`, if it
   is not NULL, is not above 0.
   weights: [group][kernel row][kernel column][in channel][channel of the group] */
static void convolve(const vec *x, const float *weights, const float *bias, vec *y, int relu,
                     const vec *by, const Convolution *c, int threads) {
    const long taps = (long)c->kernel_height * c->kernel_width * c->in_channels;
    #pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (int block = 0; block < c->blocks; block++)
        for (int row = 0; row < c->out_height; row++) {
            const int top = row * c->stride - c->padding_height;
            const int first_row = larger(0, -top);
            const int rows = smaller(c->kernel_height, c->in_height - top) - first_row;
            for (int column = 0; column < c->out_width; column++) {
                const int left = column * c->stride - c->padding_width;
                const int first = larger(0, -left);
                const int columns = smaller(c->kernel_width, c->in_width - left) - first;
                const vec *in = x + (((long)block * c->in_height + top + first_row) * c->in_width
                                     + left + first) * c->in_channels * PARTS;
                const long place = (((long)block * c->out_height + row) * c->out_width + column)
                                   * c->out_channels * PARTS;
                for (int group = 0; group < groups_of(c->out_channels); group++) {
                    const int start = group_start(group, c->out_channels);
                    const int size = group_start(group + 1, c->out_channels) - start;
                    const float *w = weights + start * taps
                        + ((long)first_row * c->kernel_width + first) * c->in_channels * size;
                    WITH_CONSTANT(size, pixel, in, w, bias ? bias + start : NULL,
                                  y + place + start * PARTS, rows, columns * c->in_channels,
                                  (long)c->in_width * c->in_channels * PARTS,
                                  (long)c->kernel_width * c->in_channels * size, relu,
                                  by ? by + place + start * PARTS : NULL)
                }
            }
        }
}

int convolution(const float *x, const float *weight, const float *bias, float *y, int relu,
                const Convolution *c, int threads) {
    const int in = c->in_channels, height = c->kernel_height, width = c->kernel_width;
    float *packed = malloc(sizeof(float) * c->out_channels * in * height * width);
    if (!packed) return 0;
    float *next = packed;
    for (int group = 0; group < groups_of(c->out_channels); group++)
        for (int row = 0; row < height; row++)
            for (int column = 0; column < width; column++)
                for (int i = 0; i < in; i++)
                    for (int o = group_start(group, c->out_channels);
                         o < group_start(group + 1, c->out_channels); o++)
                        *next++ = weight[in_weight(c, o, i, row, column)];
    convolve((const vec *)x, packed, bias, (vec *)y, relu, NULL, c, threads);
    free(packed);
    return 1;
}

/* The output's gradient, convolved with the turned kernel. */
int convolution_input_gradient(const float *dy, const float *weight, const float *by, float *dx,
                               const Convolution *c, int threads) {
    const int in = c->in_channels, height = c->kernel_height, width = c->kernel_width;
    float *packed = malloc(sizeof(float) * c->out_channels * in * height * width);
    if (!packed) return 0;
    float *next = packed;
    for (int group = 0; group < groups_of(in); group++)
        for (int row = height - 1; row >= 0; row--)
            for (int column = width - 1; column >= 0; column--)
                for (int o = 0; o < c->out_channels; o++)
                    for (int i = group_start(group, in); i < group_start(group + 1, in); i++)
                        *next++ = weight[in_weight(c, o, i, row, column)];
    const Convolution turned = {
        .blocks = c->blocks,
        .in_channels = c->out_channels, .in_height = c->out_height, .in_width = c->out_width,
        .out_channels = c->in_channels, .out_height = c->in_height, .out_width = c->in_width,
        .kernel_height = height, .kernel_width = width, .stride = 1,
        .padding_height = height - 1 - c->padding_height,
        .padding_width = width - 1 - c->padding_width,
    };
    convolve((const vec *)dy, packed, NULL, (vec *)dx, 0, (const vec *)by, &turned, threads);
    free(packed);
    return 1;
}

/* A row of pixels with `channels` channels, of which `size` are copied one pixel after another:
   read again and again, they then stay in the cache. */
INLINE void copy_channels(const vec *row, vec *restrict to, int pixels, int channels,
                          const int size) {
    for (int pixel = 0; pixel < pixels; pixel++, row += channels * PARTS, to += size * PARTS)
        for (int i = 0; i < size * PARTS; i++) {
            vec value = row[i];
            IN_REGISTER(value);  /* or else compilers call memcpy for this little */
            to[i] = value;
        }
}

/* sums[in][out] += x[in] * dy[out] over rows of pixels, for ins x size channels.
   The sums stay in registers: 2 x 6 of 16. */
INLINE void products(const vec *restrict x, const vec *restrict dy, vec *restrict sums, int rows,
                     int pixels, int x_row, int dy_row, int x_step, int next_in, int next_sum,
                     const int ins, const int size) {
    vec sum[2][LARGEST_GROUP];
    for (int i = 0; i < ins; i++)
        for (int o = 0; o < size; o++) sum[i][o] = (vec){0};
    for (int row = 0; row < rows; row++, x += x_row, dy += dy_row) {
        const vec *from = x, *with = dy;
        for (int pixel = 0; pixel < pixels; pixel++, from += x_step, with += size * PARTS)
            for (int part = 0; part < PARTS; part++)
                for (int o = 0; o < size; o++) {
                    vec factor = with[o * PARTS + part];
                    IN_REGISTER(factor);
                    for (int i = 0; i < ins; i++) sum[i][o] += from[i * next_in + part] * factor;
                }
    }
    for (int i = 0; i < ins; i++)
        for (int o = 0; o < size; o++) sums[i * next_sum + o] += sum[i][o];
}

/* Blocks share sums only within one of few parts: what is added up in which order must not depend
   on threads. */
#define MOST_PARTS 4

/* So many pixels and input channels, if they are there, are summed up at once: more would not stay
   in the cache, and long sums lose digits. */
#define PIXELS_AT_ONCE 24
#define CHANNELS_AT_ONCE 16

/* From first on, and before last. */
typedef struct {
    int first, last;
} Range;

/* The output rows or columns, of `count`, whose input row or column for this place in the kernel is
   in the map. */
static Range inside(int place, int padding, int stride, int count, int in_count) {
    const int start = place - padding;
    return (Range){larger(0, (-start + stride - 1) / stride),
                    smaller(count, (in_count - 1 - start + stride) / stride)};
}

/* Adds what these output rows and input channels of one block give to sums: [kernel row][kernel
   column][in][out].
   x_rows, dy_rows: room for copies of what is at work, x channel by channel */
static void add_products_of_rows(const vec *x, const vec *dy, vec *sums, vec *x_rows, vec *dy_rows,
                                 Range at_work, Range channels, const Convolution *c) {
    const int in = c->in_channels, out = c->out_channels, stride = c->stride;
    const int in_width = c->in_width, out_width = c->out_width;
    const int chosen = channels.last - channels.first;
    const int top = larger(0, at_work.first * stride - c->padding_height);
    const int bottom = smaller(c->in_height, (at_work.last - 1) * stride - c->padding_height
                                             + c->kernel_height);
    const int next_in = (bottom - top) * in_width * PARTS;
    const vec *from = x + ((long)top * in_width * in + channels.first) * PARTS;
    for (int i = 0; i < chosen; i++)
        copy_channels(from + i * PARTS, x_rows + i * next_in, (bottom - top) * in_width, in, 1);
    for (int group = 0; group < groups_of(out); group++) {
        const int start = group_start(group, out), size = group_start(group + 1, out) - start;
        from = dy + ((long)at_work.first * out_width * out + start) * PARTS;
        WITH_CONSTANT(size, copy_channels, from, dy_rows,
                      (at_work.last - at_work.first) * out_width, out)
        for (int row = 0; row < c->kernel_height; row++) {
            Range rows = inside(row, c->padding_height, stride, c->out_height, c->in_height);
            rows.first = larger(rows.first, at_work.first);
            rows.last = smaller(rows.last, at_work.last);
            if (rows.first >= rows.last) continue;
            const vec *x_row = x_rows
                + (rows.first * stride - c->padding_height + row - top) * in_width * PARTS;
            const vec *dy_row = dy_rows + (rows.first - at_work.first) * out_width * size * PARTS;
            /* two input channels at a time, or of a single one two kernel columns */
            for (int i = 0, pair; i < chosen * c->kernel_width; i += pair) {
                const int column = i / chosen, channel = i % chosen;
                const Range columns
                    = inside(column, c->padding_width, stride, out_width, in_width);
                const Range next
                    = inside(column + 1, c->padding_width, stride, out_width, in_width);
                const int two_columns = in == 1 && column + 1 < c->kernel_width
                    && next.first == columns.first && next.last == columns.last;
                const vec *x_first = x_row + channel * next_in
                    + (column - c->padding_width + columns.first * stride) * PARTS;
                const vec *dy_first = dy_row + columns.first * size * PARTS;
                vec *to = sums
                    + ((row * c->kernel_width + column) * in + channels.first + channel) * out
                    + start;
                pair = channel + 1 < chosen || two_columns ? 2 : 1;
                if (pair == 2) {
                    WITH_CONSTANT(size, products, x_first, dy_first, to, rows.last - rows.first,
                                  columns.last - columns.first, stride * in_width * PARTS,
                                  out_width * size * PARTS, stride * PARTS,
                                  two_columns ? PARTS : next_in, out, 2)
                } else {
                    WITH_CONSTANT(size, products, x_first, dy_first, to, rows.last - rows.first,
                                  columns.last - columns.first, stride * in_width * PARTS,
                                  out_width * size * PARTS, stride * PARTS, next_in, out, 1)
                }
            }
        }
    }
}

/* Adds what one block gives to sums: [kernel row][kernel column][in][out].
   x_rows, dy_rows: room for copies of the rows at work, x channel by channel */
static void add_products(const vec *x, const vec *dy, vec *sums, vec *x_rows, vec *dy_rows,
                         const Convolution *c) {
    const int at_once = larger(1, PIXELS_AT_ONCE / c->out_width);
    for (int first = 0; first < c->out_height; first += at_once) {
        const Range rows = {first, smaller(c->out_height, first + at_once)};
        for (int i = 0; i < c->in_channels; i += CHANNELS_AT_ONCE) {
            const Range channels = {i, smaller(c->in_channels, i + CHANNELS_AT_ONCE)};
            add_products_of_rows(x, dy, sums, x_rows, dy_rows, rows, channels, c);
        }
    }
}

/* Gradient of the weight, laid out like the weight. */
int convolution_weight_gradient(const float *x, const float *dy, float *dweight,
                                const Convolution *c, int threads) {
    const int in = c->in_channels, out = c->out_channels;
    const int height = c->kernel_height, width = c->kernel_width;
    const long of_weight = (long)height * width * in * out;
    const long rows = larger(1, PIXELS_AT_ONCE / c->out_width);
    const long of_x = smaller(in, CHANNELS_AT_ONCE) * ((rows - 1) * c->stride + height)
                      * c->in_width * PARTS;
    const long of_dy = rows * c->out_width * LARGEST_GROUP * PARTS;
    const int parts = smaller(c->blocks, MOST_PARTS);
    const long room = of_weight + of_x + of_dy;  /* for each part */
    const long in_block = (long)c->in_height * c->in_width * in * PARTS;
    const long out_block = (long)c->out_height * c->out_width * out * PARTS;
    vec *all = malloc(parts * room * sizeof(vec));
    if (!all) return 0;
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int part = 0; part < parts; part++) {
        vec *sums = all + part * room;
        memset(sums, 0, of_weight * sizeof(vec));
        const int last = (part + 1) * c->blocks / parts;
        for (int block = part * c->blocks / parts; block < last; block++)
            add_products((const vec *)x + block * in_block, (const vec *)dy + block * out_block,
                         sums, sums + of_weight, sums + of_weight + of_x, c);
    }
    #pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++)
            for (int i = 0; i < in; i++)
                for (int o = 0; o < out; o++) {
                    const vec *of_part = all + ((row * width + column) * in + i) * out + o;
                    vec lanes = *of_part;
                    for (int part = 1; part < parts; part++) lanes += of_part[part * room];
                    double sum = 0;
                    for (int lane = 0; lane < WIDTH; lane++) sum += lanes[lane];
                    dweight[in_weight(c, o, i, row, column)] = sum;
                }
    free(all);
    return 1;
}

/* --- Batch normalization, with or without the ReLU that follows it -------------------------- */

static void spread(vec *to, const float *values, int channels) {
    for (int i = 0; i < channels * PARTS; i++) to[i] = (vec){0} + values[i / PARTS];
}

/* The sum of each channel's IMAGES numbers. */
static void gather(double *to, const vec *sums, int channels) {
    for (int channel = 0; channel < channels; channel++) {
        double sum = 0;
        for (int part = 0; part < PARTS; part++)
            for (int lane = 0; lane < WIDTH; lane++) sum += sums[channel * PARTS + part][lane];
        to[channel] = sum;
    }
}

/* Means and variances (of the population) of x over all images and pixels: one pass, in which
   each row gives its own mean and squared deviations from it. Where the mean is far from 0, a
   sum of squares would lose what this keeps. */
static int batch_statistics(const float *x_, double *mean, double *variance, const Shape *shape,
                            int threads) {
    const int width = shape->width, channels = shape->channels;
    const int rows = shape->blocks * shape->height, vecs = channels * PARTS;
    double *row_sums = malloc(2 * sizeof(double) * rows * channels);
    vec *scratch = malloc(2 * sizeof(vec) * rows * vecs);
    if (!row_sums || !scratch) {
        free(row_sums);
        free(scratch);
        return 0;
    }
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
    free(row_sums);
    free(scratch);
    return 1;
}

int scale_and_shift(const float *x_, const float *scale, const float *shift, float *y_, int relu,
                    const Shape *shape, int threads) {
    const int width = shape->width, channels = shape->channels;
    const int rows = shape->blocks * shape->height, vecs = channels * PARTS;
    vec *scales = malloc(2 * sizeof(vec) * vecs), *shifts = scales + vecs;
    if (!scales) return 0;
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
    free(scales);
    return 1;
}

/* saved: mean, inverse_sd, scale, shift of each channel; y = x * scale + shift. */
int batch_norm(const float *x, const float *weight, const float *bias, float *running_mean,
               float *running_variance, double momentum, double eps, float *saved, float *y,
               int relu, const Shape *shape, int threads) {
    const int channels = shape->channels;
    double *mean = malloc(2 * sizeof(double) * channels), *variance = mean + channels;
    if (!mean || !batch_statistics(x, mean, variance, shape, threads)) {
        free(mean);
        return 0;
    }
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
    free(mean);
    return scale_and_shift(x, scale, shift, y, relu, shape, threads);
}

/* Batch normalization backward. With g = dy where the output was positive (everywhere without
   relu) and xhat = (x - mean) * inverse_sd:
       dbias = sum g,   dweight = sum g xhat,
       dx = scale * (g - mean g - xhat * mean (g xhat)),   scale = weight * inverse_sd
   (Ioffe and Szegedy 2015, section 3.) */
int batch_norm_backward(const float *x_, float *gradient, const float *saved, float *dweight,
                        float *dbias, int relu, const Shape *shape, int threads) {
    const int width = shape->width, channels = shape->channels;
    const float *mean = saved, *inverse_sd = mean + channels;
    const float *scale = inverse_sd + channels, *shift = scale + channels;
    const int rows = shape->blocks * shape->height, vecs = channels * PARTS;
    const double count = (double)rows * width * IMAGES;
    vec *constants = malloc(6 * sizeof(vec) * vecs);
    vec *scratch = calloc(2L * rows * vecs, sizeof(vec));
    double *totals = malloc(4 * sizeof(double) * channels);
    if (!constants || !scratch || !totals) {
        free(constants);
        free(scratch);
        free(totals);
        return 0;
    }
    vec *means = constants, *scales = means + vecs, *shifts = scales + vecs;
    vec *of_g = shifts + vecs, *of_x = of_g + vecs, *rest = of_x + vecs;
    spread(means, mean, channels);
    spread(scales, scale, channels);
    spread(shifts, shift, channels);
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int row = 0; row < rows; row++) {
        const vec *restrict x = (const vec *)x_ + (long)row * width * vecs;
        const vec *restrict dy = (const vec *)gradient + (long)row * width * vecs;
        vec *restrict sums = scratch + 2L * row * vecs, *restrict products = sums + vecs;
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
    free(constants);
    free(scratch);
    free(totals);
    return 1;
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

/* The sum of the output's gradient for each channel. */
int convolution_bias_gradient(const float *dy_, float *sums, const Convolution *c, int threads) {
    const int width = c->out_width, channels = c->out_channels;
    const int rows = c->blocks * c->out_height, vecs = channels * PARTS;
    vec *scratch = calloc((long)rows * vecs, sizeof(vec));
    double *of_row = calloc(2L * channels, sizeof(double)), *totals = of_row + channels;
    if (!scratch || !of_row) {
        free(scratch);
        free(of_row);
        return 0;
    }
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int row = 0; row < rows; row++) {
        const vec *restrict dy = (const vec *)dy_ + (long)row * width * vecs;
        vec *restrict sum = scratch + (long)row * vecs;
        for (int pixel = 0; pixel < width; pixel++, dy += vecs)
            for (int i = 0; i < vecs; i++) sum[i] += dy[i];
    }
    for (int row = 0; row < rows; row++) {
        gather(of_row, scratch + (long)row * vecs, channels);
        for (int channel = 0; channel < channels; channel++) totals[channel] += of_row[channel];
    }
    for (int channel = 0; channel < channels; channel++) sums[channel] = totals[channel];
    free(scratch);
    free(of_row);
    return 1;
}

#define INPUT_OF_WINDOW(p, block, row, column) \
    ((((long)(block) * (p)->height + (row) * (p)->window_height) * (p)->width \
      + (column) * (p)->window_width) * (p)->channels * PARTS)

/* For every row of windows: x, its first vec of the input, and y, that of the output. */
#define EACH_ROW_OF_WINDOWS(p) \
    const int rows = (p)->height / (p)->window_height, columns = (p)->width / (p)->window_width; \
    const int vecs = (p)->channels * PARTS; \
    const long in_row = (long)(p)->width * vecs; \
    _Pragma("omp parallel for num_threads(threads) if (threads > 1)") \
    for (int row = 0; row < (p)->blocks * rows; row++)

void max_pool(const float *x_, float *y_, const Pooling *p, int threads) {
    EACH_ROW_OF_WINDOWS(p) {
        vec *y = (vec *)y_ + (long)row * columns * vecs;
        for (int column = 0; column < columns; column++, y += vecs) {
            const vec *x = (const vec *)x_ + INPUT_OF_WINDOW(p, row / rows, row % rows, column);
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
    if (p->height % p->window_height || p->width % p->window_width)
        memset(dx_, 0, sizeof(vec) * PARTS * p->blocks * p->height * p->width * p->channels);
    EACH_ROW_OF_WINDOWS(p) {
        const vec *y = (const vec *)y_ + (long)row * columns * vecs;
        const vec *dy = (const vec *)dy_ + (long)row * columns * vecs;
        for (int column = 0; column < columns; column++, y += vecs, dy += vecs) {
            const long place = INPUT_OF_WINDOW(p, row / rows, row % rows, column);
            const vec *restrict x = (const vec *)x_ + place;
            vec *restrict dx = (vec *)dx_ + place;
            for (int i = 0; i < vecs; i++) {
                const vec gradient = relu ? passed(dy[i], y[i]) : dy[i];
                mask left = ~(mask){0};  /* no largest value met yet */
                for (int down = 0; down < p->window_height; down++)
                    for (int right = 0; right < p->window_width; right++) {
                        const long at = down * in_row + right * vecs + i;
                        const mask here = left & (mask)(x[at] == y[i]);
                        dx[at] = (vec)((mask)gradient & here);
                        left &= ~here;
                    }
            }
        }
    }
}

void average_pool(const float *x_, float *y_, const Pooling *p, int threads) {
    const float share = 1.0f / (p->window_height * p->window_width);
    EACH_ROW_OF_WINDOWS(p) {
        vec *y = (vec *)y_ + (long)row * columns * vecs;
        for (int column = 0; column < columns; column++, y += vecs) {
            const vec *x = (const vec *)x_ + INPUT_OF_WINDOW(p, row / rows, row % rows, column);
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
    if (p->height % p->window_height || p->width % p->window_width)
        memset(dx_, 0, sizeof(vec) * PARTS * p->blocks * p->height * p->width * p->channels);
    EACH_ROW_OF_WINDOWS(p) {
        const vec *dy = (const vec *)dy_ + (long)row * columns * vecs;
        for (int column = 0; column < columns; column++, dy += vecs) {
            vec *dx = (vec *)dx_ + INPUT_OF_WINDOW(p, row / rows, row % rows, column);
            for (int i = 0; i < vecs; i++)
                for (int down = 0; down < p->window_height; down++)
                    for (int right = 0; right < p->window_width; right++)
                        dx[down * in_row + right * vecs + i] = dy[i] * share;
        }
    }
}
