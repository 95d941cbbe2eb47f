/* Images on their way into a network, moved and cut into blocks, and its results on the way out. */

#include "network.h"

#include <string.h>

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

/* For each block sixteen images, one in a frame, and three rows. */
static double room_for_block(int height, int width) {
    return (double)IMAGES * height * width + (height + 2.0) * (width + 2.0) + 3.0 * width;
}

double prepare_room(int blocks, int height, int width) {
    return blocks * room_for_block(height, width) * sizeof(float);
}

void prepare(Network *network, const unsigned char *images, const int *chosen, const float *maps,
             double mean, double sd, int threads) {
    const int count = network->count, height = network->height, width = network->width;
    const int blocks = (count + IMAGES - 1) / IMAGES, parts = threads < blocks ? threads : blocks;
    const long size = (long)height * width, wide = width + 2, framed_size = (height + 2) * wide;
    const long of_part = room_for_block(height, width);
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int part = 0; part < parts; part++) {
        float *moved = (float *)network->scratch + part * of_part;
        float *framed = moved + IMAGES * size, *room = framed + framed_size;
        memset(framed, 0, sizeof(float) * framed_size);
        for (int block = part; block < blocks; block += parts) {
            const int first = block * IMAGES;
            const int here = count - first < IMAGES ? count - first : IMAGES;
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
                    resample(framed, maps + 6L * (first + i), moved + i * size, height, width,
                             room);
            }
            for (long k = 0; k < here * size; k++) moved[k] = (moved[k] - (float)mean) / (float)sd;
            memset(moved + here * size, 0, sizeof(float) * (IMAGES - here) * size);
            float *to = network->input + block * size * IMAGES;
            for (long pixel = 0; pixel < size; pixel++)
                for (int i = 0; i < IMAGES; i++) *to++ = moved[i * size + pixel];
        }
    }
}

/* [image][channel][pixel] into blocks; what is missing to fill the last one is 0. */
static void pack(const float *images, float *blocks, int count, const Shape *shape) {
    const long pixels = (long)shape->height * shape->width, size = pixels * shape->channels;
    for (int number = 0; number < shape->blocks * IMAGES; number++)
        for (int channel = 0; channel < shape->channels; channel++)
            for (long pixel = 0; pixel < pixels; pixel++)
                blocks[(number / IMAGES * size + pixel * shape->channels + channel) * IMAGES
                       + number % IMAGES]
                    = number < count ? images[number * size + channel * pixels + pixel] : 0;
}

void load(Network *network, const float *images) {
    const Shape shape = {(network->count + IMAGES - 1) / IMAGES, network->height, network->width,
                         network->channels};
    pack(images, network->input, network->count, &shape);
}

void pass_back(Network *network, const float *gradient) {
    pack(gradient, network->turns[0], network->count, &network->output_shape);
}

void result(const Network *network, float *output) {
    const Shape *shape = &network->output_shape;
    const long pixels = (long)shape->height * shape->width, size = pixels * shape->channels;
    for (int number = 0; number < network->count; number++)
        for (int channel = 0; channel < shape->channels; channel++)
            for (long pixel = 0; pixel < pixels; pixel++)
                output[number * size + channel * pixels + pixel]
                    = network->output[(number / IMAGES * size + pixel * shape->channels + channel)
                                      * IMAGES + number % IMAGES];
}
