/* A training step of a network of the layers in layers.c, in five calls: prepare, forward, loss,
   backward, update. What they share is in the structs below, which network.py fills. */

#include "layers.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* For the whole process: memory that is freed is kept for the next step. Otherwise the C library
   asks the system for every large map anew, which hands out each page filled with zeros. */
void keep_memory(void) {
#ifdef __GLIBC__
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
#endif
}

/* --- Preparing a batch ---------------------------------------------------------------------- */

/* Between four neighbouring pixels each. One by one: to gather eight at a time is slower. */
#if defined __GNUC__ && !defined __clang__
__attribute__((noinline, optimize("no-tree-vectorize")))
#endif
static void interpolate(const float *framed, long wide, const int *place, const float *right,
                        const float *down, float *restrict out, int width) {
    for (int column = 0; column < width; column++) {
        const float *at = framed + place[column];
        const float upper = at[0] + right[column] * (at[1] - at[0]);
        const float lower = at[wide] + right[column] * (at[wide + 1] - at[wide]);
        out[column] = upper + down[column] * (lower - upper);
    }
}

/* One image of one channel under an affine map of coordinates, bilinearly, as PyTorch's
   affine_grid and grid_sample with align_corners=False; outside is 0. map: 2 x 3, from output to
   input, both from -1 to 1. framed: the image with a frame of zeros, so that what lies outside is
   read like all else. room: for three rows. */
static void resample(const float *framed, const float *map, float *out, int height, int width,
                     float *room) {
    const int wide = width + 2;
    int *restrict place = (int *)room;
    float *restrict right = room + width, *restrict down = room + 2 * width;
    for (int row = 0; row < height; row++, out += width) {
        const float y = (2 * row + 1) / (float)height - 1;
        for (int column = 0; column < width; column++) {
            const float x = (2 * column + 1) / (float)width - 1;
            /* in pixels of the frame, whose middle of the first pixel is 0 */
            float in_x = ((map[0] * x + map[1] * y + map[2] + 1) * width + 1) / 2;
            float in_y = ((map[3] * x + map[4] * y + map[5] + 1) * height + 1) / 2;
            in_x = in_x > 0 ? in_x : 0;
            in_y = in_y > 0 ? in_y : 0;
            in_x = in_x < width + 1 ? in_x : width + 1;
            in_y = in_y < height + 1 ? in_y : height + 1;
            const int left = in_x < width ? in_x : (float)width;
            const int top = in_y < height ? in_y : (float)height;
            place[column] = top * wide + left;
            right[column] = in_x - left;
            down[column] = in_y - top;
        }
        interpolate(framed, wide, place, right, down, out, width);
    }
}

/* The chosen images as blocks, each under a map of its own unless maps is NULL; pixels become
   (pixel - mean) / sd.
   images: [image][row][column], one channel, 0 to 255; chosen: numbers of `count` of them. What
   is missing to fill the last block is 0. */
int prepare(const unsigned char *images, const long long *chosen, const float *maps,
            float *blocks, int count, int height, int width, double mean, double sd, int threads) {
    const long size = (long)height * width, wide = width + 2, framed_size = (height + 2) * wide;
    int enough_memory = 1;
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int block = 0; block < (count + IMAGES - 1) / IMAGES; block++) {
        /* sixteen images, one in a frame, and three rows */
        float *moved = calloc(IMAGES * size + framed_size + 3L * width, sizeof(float));
        if (!moved) {
            #pragma omp atomic write
            enough_memory = 0;
            continue;
        }
        float *framed = moved + IMAGES * size, *room = framed + framed_size;
        const int first = block * IMAGES, here = count - first < IMAGES ? count - first : IMAGES;
        for (int i = 0; i < here; i++) {
            const unsigned char *image = images + chosen[first + i] * size;
            for (int row = 0; row < height; row++)
                for (int column = 0; column < width; column++) {
                    const float value = image[row * width + column] / 255.0f;
                    if (maps)
                        framed[(row + 1) * wide + column + 1] = value;
                    else
                        moved[i * size + row * width + column] = value;
                }
            if (maps)
                resample(framed, maps + 6L * (first + i), moved + i * size, height, width, room);
        }
        for (long k = 0; k < here * size; k++) moved[k] = (moved[k] - (float)mean) / (float)sd;
        float *to = blocks + block * size * IMAGES;
        for (long pixel = 0; pixel < size; pixel++)
            for (int i = 0; i < IMAGES; i++) *to++ = moved[i * size + pixel];
        free(moved);
    }
    return enough_memory;
}

/* images: [image][channel][row][column], as blocks; what is missing to fill the last is 0. */
void pack(const float *images, float *blocks, int count, int channels, int pixels) {
    const long size = (long)channels * pixels;
    for (int number = 0; number < (count + IMAGES - 1) / IMAGES * IMAGES; number++)
        for (int channel = 0; channel < channels; channel++)
            for (int pixel = 0; pixel < pixels; pixel++)
                blocks[(number / IMAGES * size + (long)pixel * channels + channel) * IMAGES
                       + number % IMAGES]
                    = number < count ? images[number * size + (long)channel * pixels + pixel] : 0;
}

/* The first `count` images of blocks, as [image][channel][row][column]. */
void unpack(const float *blocks, float *images, int count, int channels, int pixels) {
    const long size = (long)channels * pixels;
    for (int number = 0; number < count; number++)
        for (int channel = 0; channel < channels; channel++)
            for (int pixel = 0; pixel < pixels; pixel++)
                images[number * size + (long)channel * pixels + pixel]
                    = blocks[(number / IMAGES * size + (long)pixel * channels + channel) * IMAGES
                             + number % IMAGES];
}

/* --- Layers, one after another -------------------------------------------------------------- */

enum { CONVOLUTION, BATCH_NORM, RELU, MAX_POOL, AVERAGE_POOL };

/* relu: whether 0 takes the place of what is below 0 in the output
   weight ... eps: where the kind of layer has such; saved: four numbers a channel
   x, y: where the layer reads and writes */
typedef struct {
    int kind, relu;
    Shape shape;             /* of batch normalization and ReLU */
    Convolution convolution;
    Pooling pooling;
    const float *weight, *bias;
    float *weight_gradient, *bias_gradient;
    float *running_mean, *running_variance, *saved;
    double momentum, eps;
    float *x, *y;
} Layer;

int forward(const Layer *layers, int count, int training, int threads) {
    for (const Layer *l = layers; l < layers + count; l++) {
        int enough_memory = 1;
        switch (l->kind) {
        case CONVOLUTION:
            enough_memory
                = convolution(l->x, l->weight, l->bias, l->y, l->relu, &l->convolution, threads);
            break;
        case BATCH_NORM:
            if (training) {
                enough_memory
                    = batch_norm(l->x, l->weight, l->bias, l->running_mean, l->running_variance,
                                 l->momentum, l->eps, l->saved, l->y, l->relu, &l->shape, threads);
                break;
            }
            float *scale = l->saved, *shift = scale + l->shape.channels;
            for (int i = 0; i < l->shape.channels; i++) {
                scale[i] = l->weight[i] / sqrt(l->running_variance[i] + l->eps);
                shift[i] = l->bias[i] - l->running_mean[i] * scale[i];
            }
            enough_memory
                = scale_and_shift(l->x, scale, shift, l->y, l->relu, &l->shape, threads);
            break;
        case RELU: relu(l->x, l->y, &l->shape, threads); break;
        case MAX_POOL: max_pool(l->x, l->y, &l->pooling, threads); break;
        default: average_pool(l->x, l->y, &l->pooling, threads);
        }
        if (!enough_memory) return 0;
    }
    return 1;
}

/* Whether the way back through this layer goes through the ReLU before it too. */
static int takes_relu_along(const Layer *l) {
    return l[-1].relu && l[-1].kind == CONVOLUTION
           && (l->kind == CONVOLUTION || l->kind == MAX_POOL);
}

/* gradient: that of the last layer's output. It and `spare` each have room for any map. The
   gradient of the first layer's input is not computed. */
int backward(const Layer *layers, int count, float *gradient, float *spare, int threads) {
    for (const Layer *l = layers + count - 1; l >= layers; l--) {
        const int first = l == layers, last = l == layers + count - 1;
        const int before = !first && takes_relu_along(l);
        int in_place = 0;
        switch (l->kind) {
        case CONVOLUTION:
            if (l->relu && (last || !takes_relu_along(l + 1))) {
                const Convolution *c = &l->convolution;
                const Shape output = {c->blocks, c->out_height, c->out_width, c->out_channels};
                relu_backward(l->y, gradient, &output, threads);
            }
            if (!convolution_weight_gradient(l->x, gradient, l->weight_gradient, &l->convolution,
                                             threads)
                || (l->bias && !convolution_bias_gradient(gradient, l->bias_gradient,
                                                          &l->convolution, threads))
                || (!first && !convolution_input_gradient(gradient, l->weight,
                                                          before ? l->x : NULL, spare,
                                                          &l->convolution, threads)))
                return 0;
            break;
        case BATCH_NORM:
            if (!batch_norm_backward(l->x, gradient, l->saved, l->weight_gradient,
                                     l->bias_gradient, l->relu, &l->shape, threads))
                return 0;
            in_place = 1;
            break;
        case RELU:
            relu_backward(l->y, gradient, &l->shape, threads);
            in_place = 1;
            break;
        case MAX_POOL:
            max_pool_backward(l->x, l->y, gradient, spare, before, &l->pooling, threads);
            break;
        default: average_pool_backward(gradient, spare, &l->pooling, threads);
        }
        if (!in_place) {
            float *written = spare;
            spare = gradient;
            gradient = written;
        }
    }
    return 1;
}

/* --- Loss and update ------------------------------------------------------------------------ */

/* The mean negative log-likelihood of softmax, and its gradient by the scores.
   scores, gradient: blocks of maps of one pixel; chosen: numbers of the `count` labels
   Adds to *correct how many images have their largest score, the first of equals, at the label. */
double loss_and_gradient(const float *scores, float *gradient, const long long *labels,
                         const long long *chosen, int count, int classes, long long *correct) {
    double loss = 0;
    const long rounded_up = (long)(count + IMAGES - 1) / IMAGES * IMAGES;
    memset(gradient, 0, sizeof(float) * rounded_up * classes);
    for (int number = 0; number < count; number++) {
        const long place = (long)(number / IMAGES) * classes * IMAGES + number % IMAGES;
        const float *score = scores + place;
        const int label = labels[chosen[number]];
        int best = 0;
        for (int i = 1; i < classes; i++)
            if (score[i * IMAGES] > score[best * IMAGES]) best = i;
        double sum = 0;
        const double most = score[best * IMAGES];
        for (int i = 0; i < classes; i++) sum += exp(score[i * IMAGES] - most);
        const double log_sum = most + log(sum);
        for (int i = 0; i < classes; i++)
            gradient[place + i * IMAGES]
                = (exp(score[i * IMAGES] - log_sum) - (i == label)) / count;
        loss += log_sum - score[label * IMAGES];
        *correct += best == label;
    }
    return loss / count;
}

typedef struct {
    float *value, *velocity;
    const float *gradient;
    long size;
} Parameter;

/* Stochastic gradient descent as torch.optim.SGD; velocity starts at 0, or is NULL without
   momentum. */
void update(const Parameter *parameters, int count, double learning_rate, double momentum,
            double weight_decay, int nesterov) {
    for (const Parameter *p = parameters; p < parameters + count; p++)
        for (long i = 0; i < p->size; i++) {
            float gradient = p->gradient[i] + (float)weight_decay * p->value[i];
            if (p->velocity) {
                const float velocity = (float)momentum * p->velocity[i] + gradient;
                p->velocity[i] = velocity;
                gradient = nesterov ? gradient + (float)momentum * velocity : velocity;
            }
            p->value[i] -= (float)learning_rate * gradient;
        }
}
