/* What convolution.c and layers.c offer to network.c, and how maps lie in memory.

A vector unit does the same to several numbers at once, here to one pixel of several images: ten
channels fill its registers badly, sixteen images well. So every map lies in memory as
    [block of 16 images][row][column][channel][image]

Gradients by a layer's input are called dx, by its output dy. Where functions need memory for
themselves it is `scratch`; what is called a room says how many bytes of it, as a double, which
cannot overflow. */

#ifndef LAYERS_H
#define LAYERS_H

#define IMAGES 16

typedef struct {
    int blocks, height, width, channels;
} Shape;

typedef struct {
    int blocks, in_channels, in_height, in_width;
    int out_channels, out_height, out_width;
    int kernel_height, kernel_width, stride, dilation, padding_height, padding_width;
    /* where the next output channel, input channel, row, column of the weight are */
    int next_out, next_in, next_row, next_column;
} Convolution;

/* A window every `down` rows and `across` columns; rows and columns that are left over belong to
   none. */
typedef struct {
    int blocks, height, width, channels;
    int window_height, window_width, down, across;
} Pooling;

/* How many rows or columns of the input a kernel with so many of its own reaches over. */
int span(int kernel, const Convolution *c);

double convolution_room(const Convolution *c);
/* With relu, 0 where the output is below 0. bias may be NULL. */
void convolution(const float *x, const float *weight, const float *bias, float *y, int relu,
                 const Convolution *c, void *scratch, int threads);
void convolution_weight_gradient(const float *x, const float *dy, float *dweight,
                                 const Convolution *c, void *scratch, int threads);
void convolution_bias_gradient(const float *dy, float *dbias, const Convolution *c, void *scratch,
                               int threads);
/* For stride 1. Where x is the output of a ReLU, `by` is x and dx the gradient before that ReLU;
   otherwise NULL. */
void convolution_input_gradient(const float *dy, const float *weight, const float *by, float *dx,
                                const Convolution *c, void *scratch, int threads);

double batch_norm_room(const Shape *shape);
/* As in training: running statistics move by `momentum`. saved: four numbers a channel, which
   the way back needs. */
void batch_norm(const float *x, const float *weight, const float *bias, float *running_mean,
                float *running_variance, double momentum, double eps, float *saved, float *y,
                int relu, const Shape *shape, void *scratch, int threads);
/* dx takes the place of dy in `gradient`. */
void batch_norm_backward(const float *x, float *gradient, const float *saved, float *dweight,
                         float *dbias, int relu, const Shape *shape, void *scratch, int threads);
/* y = x * scale + shift, for each channel; y may be x. */
void scale_and_shift(const float *x, const float *scale, const float *shift, float *y, int relu,
                     const Shape *shape, void *scratch, int threads);

void relu(const float *x, float *y, const Shape *shape, int threads);
/* dx takes the place of dy in `gradient`. */
void relu_backward(const float *y, float *gradient, const Shape *shape, int threads);

void max_pool(const float *x, float *y, const Pooling *p, int threads);
/* With relu, x is the output of a ReLU and dx the gradient before it. */
void max_pool_backward(const float *x, const float *y, const float *dy, float *dx, int relu,
                       const Pooling *p, int threads);
void average_pool(const float *x, float *y, const Pooling *p, int threads);
void average_pool_backward(const float *dy, float *dx, const Pooling *p, int threads);

#endif
