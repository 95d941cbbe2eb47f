/* Convolutions and their gradients, 16 images at a time. */

#include "vectors.h"

INLINE long in_weight(const Convolution *c, int out, int in, int row, int column) {
    return out * c->next_out + in * c->next_in + row * c->next_row + column * c->next_column;
}

/* Output channels go in groups as equal as possible. The sums of one group stay in registers: of
   16, those of 6 channels in 2 vecs each, of 32, those of 12 in one each. Where a pixel's images
   take 4 vecs, 16 registers hold the sums of no more than 2 channels. */
#if defined __AVX512F__
#define LARGEST_GROUP 12
#else
#define LARGEST_GROUP 6
#endif
#if WIDTH == 4 && !defined __aarch64__
#define PIXEL_GROUP 2
#else
#define PIXEL_GROUP LARGEST_GROUP
#endif

/* From first on, and before last. */
typedef struct {
    int first, last;
} Range;

static int groups_of(int channels, int largest) { return (channels + largest - 1) / largest; }
static Range group_of(int number, int channels, int largest) {
    const int groups = groups_of(channels, largest);
    return (Range){number * channels / groups, (number + 1) * channels / groups};
}

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

/* One output pixel of `size` channels: `run` neighbouring vecs at each of `columns` places in each
   of `rows` input rows. */
INLINE void pixel(const vec *restrict in, const float *restrict weights, const float *bias,
                  vec *restrict out, int rows, int columns, int run, long in_row, long in_column,
                  long weights_row, int relu, const vec *by, const int size) {
    vec sum[LARGEST_GROUP][PARTS];
    for (int channel = 0; channel < size; channel++)
        for (int part = 0; part < PARTS; part++)
            sum[channel][part] = (vec){0} + (bias ? bias[channel] : 0);
    for (int row = 0; row < rows; row++) {
        const float *w = weights + row * weights_row;
        for (int column = 0; column < columns; column++) {
            const vec *x = in + row * in_row + column * in_column;
            for (int i = 0; i < run; i++, x += PARTS, w += size)
                for (int channel = 0; channel < size; channel++)
                    for (int part = 0; part < PARTS; part++)
                        sum[channel][part] += w[channel] * x[part];
        }
    }
    for (int channel = 0; channel < size; channel++)
        for (int part = 0; part < PARTS; part++) {
            const int i = channel * PARTS + part;
            const vec value = sum[channel][part];
            out[i] = relu ? rectified(value) : by ? passed(value, by[i]) : value;
        }
}

int span(int kernel, const Convolution *c) { return c->dilation * (kernel - 1) + 1; }

/* The rows or columns of a kernel, of `kernel`, that lie in the map when its first one is at start. */
static Range reached(int start, int dilation, int kernel, int in_count) {
    return (Range){larger(0, (-start + dilation - 1) / dilation),
                   smaller(kernel, (in_count - 1 - start + dilation) / dilation)};
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
            const Range rows = reached(top, c->dilation, c->kernel_height, c->in_height);
            /* A distance is counted where it lies in the map: another may be no number. */
            const int high = rows.last - rows.first;
            const long in_row = high < 2 ? 0
                : (long)c->dilation * c->in_width * c->in_channels * PARTS;
            for (int column = 0; column < c->out_width; column++) {
                const int left = column * c->stride - c->padding_width;
                const Range columns = reached(left, c->dilation, c->kernel_width, c->in_width);
                const int wide = columns.last - columns.first;
                const long at = high < 1 || wide < 1 ? 0
                    : ((long)block * c->in_height + top + rows.first * c->dilation) * c->in_width
                      + left + columns.first * c->dilation;
                const vec *in = x + at * c->in_channels * PARTS;
                const long in_column = wide < 2 ? 0 : (long)c->dilation * c->in_channels * PARTS;
                /* neighbouring columns are one run */
                const int runs = c->dilation > 1 ? wide : 1;
                const int run = c->dilation > 1 ? c->in_channels : wide * c->in_channels;
                const long place = (((long)block * c->out_height + row) * c->out_width + column)
                                   * c->out_channels * PARTS;
                for (int number = 0; number < groups_of(c->out_channels, PIXEL_GROUP); number++) {
                    const Range group = group_of(number, c->out_channels, PIXEL_GROUP);
                    const int start = group.first, size = group.last - start;
                    const float *w = weights + start * taps
                        + ((long)rows.first * c->kernel_width + columns.first) * c->in_channels
                          * size;
                    WITH_CONSTANT(size, pixel, in, w, bias ? bias + start : NULL,
                                  y + place + start * PARTS, high, runs, run, in_row, in_column,
                                  (long)c->kernel_width * c->in_channels * size, relu,
                                  by ? by + place + start * PARTS : NULL)
                }
            }
        }
}

void convolution(const float *x, const float *weight, const float *bias, float *y, int relu,
                 const Convolution *c, void *scratch, int threads) {
    const int in = c->in_channels, height = c->kernel_height, width = c->kernel_width;
    float *next = scratch;
    for (int number = 0; number < groups_of(c->out_channels, PIXEL_GROUP); number++) {
        const Range group = group_of(number, c->out_channels, PIXEL_GROUP);
        for (int row = 0; row < height; row++)
            for (int column = 0; column < width; column++)
                for (int i = 0; i < in; i++)
                    for (int o = group.first; o < group.last; o++)
                        *next++ = weight[in_weight(c, o, i, row, column)];
    }
    convolve((const vec *)x, scratch, bias, (vec *)y, relu, NULL, c, threads);
}

/* The output's gradient, convolved with the turned kernel. */
void convolution_input_gradient(const float *dy, const float *weight, const float *by, float *dx,
                                const Convolution *c, void *scratch, int threads) {
    const int in = c->in_channels, height = c->kernel_height, width = c->kernel_width;
    float *next = scratch;
    for (int number = 0; number < groups_of(in, PIXEL_GROUP); number++) {
        const Range group = group_of(number, in, PIXEL_GROUP);
        for (int row = height - 1; row >= 0; row--)
            for (int column = width - 1; column >= 0; column--)
                for (int o = 0; o < c->out_channels; o++)
                    for (int i = group.first; i < group.last; i++)
                        *next++ = weight[in_weight(c, o, i, row, column)];
    }
    const Convolution turned = {
        .blocks = c->blocks,
        .in_channels = c->out_channels, .in_height = c->out_height, .in_width = c->out_width,
        .out_channels = c->in_channels, .out_height = c->in_height, .out_width = c->in_width,
        .kernel_height = height, .kernel_width = width, .stride = 1, .dilation = c->dilation,
        .padding_height = span(height, c) - 1 - c->padding_height,
        .padding_width = span(width, c) - 1 - c->padding_width,
    };
    convolve((const vec *)dy, scratch, NULL, (vec *)dx, 0, (const vec *)by, &turned, threads);
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

/* The output rows or columns, of `count`, whose input row or column is in the map, when that of the
   first one is at start. */
static Range inside(int start, int stride, int count, int in_count) {
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
                                             + span(c->kernel_height, c));
    const int next_in = (bottom - top) * in_width * PARTS;
    const vec *from = x + ((long)top * in_width * in + channels.first) * PARTS;
    for (int i = 0; i < chosen; i++)
        copy_channels(from + i * PARTS, x_rows + i * next_in, (bottom - top) * in_width, in, 1);
    for (int number = 0; number < groups_of(out, LARGEST_GROUP); number++) {
        const Range group = group_of(number, out, LARGEST_GROUP);
        const int start = group.first, size = group.last - start;
        from = dy + ((long)at_work.first * out_width * out + start) * PARTS;
        WITH_CONSTANT(size, copy_channels, from, dy_rows,
                      (at_work.last - at_work.first) * out_width, out)
        for (int row = 0; row < c->kernel_height; row++) {
            const int down = row * c->dilation - c->padding_height;
            Range rows = inside(down, stride, c->out_height, c->in_height);
            rows.first = larger(rows.first, at_work.first);
            rows.last = smaller(rows.last, at_work.last);
            if (rows.first >= rows.last) continue;
            const vec *x_row = x_rows
                + (rows.first * stride + down - top) * in_width * PARTS;
            const vec *dy_row = dy_rows + (rows.first - at_work.first) * out_width * size * PARTS;
            /* two input channels at a time, or of a single one two kernel columns */
            for (int i = 0, pair; i < chosen * c->kernel_width; i += pair) {
                const int column = i / chosen, channel = i % chosen;
                const int right = column * c->dilation - c->padding_width;
                const Range columns = inside(right, stride, out_width, in_width);
                const Range next = inside(right + c->dilation, stride, out_width, in_width);
                const int two_columns = in == 1 && column + 1 < c->kernel_width
                    && next.first == columns.first && next.last == columns.last;
                const vec *x_first = x_row + channel * next_in
                    + (right + columns.first * stride) * PARTS;
                const vec *dy_first = dy_row + columns.first * size * PARTS;
                vec *to = sums
                    + ((row * c->kernel_width + column) * in + channels.first + channel) * out
                    + start;
                pair = channel + 1 < chosen || two_columns ? 2 : 1;
                if (pair == 2) {
                    WITH_CONSTANT(size, products, x_first, dy_first, to, rows.last - rows.first,
                                  columns.last - columns.first, stride * in_width * PARTS,
                                  out_width * size * PARTS, stride * PARTS,
                                  two_columns ? c->dilation * PARTS : next_in, out, 2)
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

/* What the gradient of a weight needs, in vecs: its parts' sums, and copies of rows. */
typedef struct {
    int parts;
    double of_weight, of_x, of_dy;
} Room;

static Room room_for_products(const Convolution *c) {
    const int rows = larger(1, PIXELS_AT_ONCE / c->out_width);
    return (Room){
        .parts = smaller(c->blocks, MOST_PARTS),
        .of_weight = (double)c->kernel_height * c->kernel_width * c->in_channels * c->out_channels,
        .of_x = (double)smaller(c->in_channels, CHANNELS_AT_ONCE)
                * ((rows - 1.0) * c->stride + span(c->kernel_height, c)) * c->in_width * PARTS,
        .of_dy = (double)rows * c->out_width * LARGEST_GROUP * PARTS,
    };
}

double convolution_room(const Convolution *c) {
    const Room room = room_for_products(c);
    const double products = room.parts * (room.of_weight + room.of_x + room.of_dy) * sizeof(vec);
    const double bias = (double)c->blocks * c->out_height * c->out_channels * PARTS * sizeof(vec)
                        + 2.0 * c->out_channels * sizeof(double);
    return fmax(products, bias);  /* a packed weight is smaller than its sums */
}

void convolution_weight_gradient(const float *x, const float *dy, float *dweight,
                                 const Convolution *c, void *scratch, int threads) {
    const int in = c->in_channels, out = c->out_channels;
    const int height = c->kernel_height, width = c->kernel_width;
    const Room room = room_for_products(c);
    const long of_weight = room.of_weight, of_x = room.of_x;
    const long of_part = of_weight + of_x + (long)room.of_dy;
    const long in_block = (long)c->in_height * c->in_width * in * PARTS;
    const long out_block = (long)c->out_height * c->out_width * out * PARTS;
    vec *all = scratch;
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int part = 0; part < room.parts; part++) {
        vec *sums = all + part * of_part;
        memset(sums, 0, of_weight * sizeof(vec));
        const int last = (part + 1) * c->blocks / room.parts;
        for (int block = part * c->blocks / room.parts; block < last; block++)
            add_products((const vec *)x + block * in_block, (const vec *)dy + block * out_block,
                         sums, sums + of_weight, sums + of_weight + of_x, c);
    }
    #pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++)
            for (int i = 0; i < in; i++)
                for (int o = 0; o < out; o++) {
                    const vec *first = all + ((row * width + column) * in + i) * out + o;
                    vec lanes = *first;
                    for (int part = 1; part < room.parts; part++) lanes += first[part * of_part];
                    double sum = 0;
                    for (int lane = 0; lane < WIDTH; lane++) sum += lanes[lane];
                    dweight[in_weight(c, o, i, row, column)] = sum;
                }
}

/* The sum of the output's gradient for each channel. */
void convolution_bias_gradient(const float *dy_, float *sums, const Convolution *c, void *scratch,
                               int threads) {
    const int width = c->out_width, channels = c->out_channels;
    const int rows = c->blocks * c->out_height, vecs = channels * PARTS;
    vec *row_sums = scratch;
    double *of_row = (double *)(row_sums + (long)rows * vecs), *totals = of_row + channels;
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int row = 0; row < rows; row++) {
        const vec *restrict dy = (const vec *)dy_ + (long)row * width * vecs;
        vec *restrict sum = row_sums + (long)row * vecs;
        for (int i = 0; i < vecs; i++) sum[i] = (vec){0};
        for (int pixel = 0; pixel < width; pixel++, dy += vecs)
            for (int i = 0; i < vecs; i++) sum[i] += dy[i];
    }
    for (int channel = 0; channel < channels; channel++) totals[channel] = 0;
    for (int row = 0; row < rows; row++) {
        gather(of_row, row_sums + (long)row * vecs, channels);
        for (int channel = 0; channel < channels; channel++) totals[channel] += of_row[channel];
    }
    for (int channel = 0; channel < channels; channel++) sums[channel] = totals[channel];
}
