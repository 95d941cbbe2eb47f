/* What layers.c offers to network.c, and how maps lie in memory.

A vector unit does the same to several numbers at once, here to one pixel of several images: ten
channels fill its registers badly, sixteen images well. So every map lies in memory as
    [block of 16 images][row][column][channel][image]

Gradients by a layer's input are called dx, by its output dy. Functions that need memory return 0
when there is none, else 1. */

#define IMAGES 16

typedef struct {
    int blocks, height, width, channels;
} Shape;

typedef struct {
    int blocks, in_channels, in_height, in_width;
    int out_channels, out_height, out_width;
    int kernel_height, kernel_width, stride, padding_height, padding_width;
    /* where the next output channel, input channel, row, column of the weight are */
    long next_out, next_in, next_row, next_column;
} Convolution;

/* Windows that touch and do not overlap; rows and columns that are left over belong to none. */
typedef struct {
    int blocks, height, width, channels;
    int window_height, window_width;
} Pooling;

/* With relu, 0 where the output is below 0. bias may be NULL. */
int convolution(const float *x, const float *weight, const float *bias, float *y, int relu,
                const Convolution *c, int threads);
int convolution_weight_gradient(const float *x, const float *dy, float *dweight,
                                const Convolution *c, int threads);
int convolution_bias_gradient(const float *dy, float *dbias, const Convolution *c, int threads);
/* For stride 1. Where x is the output of a ReLU, `by` is x and dx the gradient before that ReLU;
   otherwise NULL. */
int convolution_input_gradient(const float *dy, const float *weight, const float *by, float *dx,
                               const Convolution *c, int threads);

/* As in training: running statistics move by `momentum`. saved: four numbers a channel, which
   the way back needs. */
int batch_norm(const float *x, const float *weight, const float *bias, float *running_mean,
               float *running_variance, double momentum, double eps, float *saved, float *y,
               int relu, const Shape *shape, int threads);
/* dx takes the place of dy in `gradient`. */
int batch_norm_backward(const float *x, float *gradient, const float *saved, float *dweight,
                        float *dbias, int relu, const Shape *shape, int threads);
/* y = x * scale + shift, for each channel; y may be x. */
int scale_and_shift(const float *x, const float *scale, const float *shift, float *y, int relu,
                    const Shape *shape, int threads);

void relu(const float *x, float *y, const Shape *shape, int threads);
/* dx takes the place of dy in `gradient`. */
void relu_backward(const float *y, float *gradient, const Shape *shape, int threads);

void max_pool(const float *x, float *y, const Pooling *p, int threads);
/* With relu, x is the output of a ReLU and dx the gradient before it. */
void max_pool_backward(const float *x, const float *y, const float *dy, float *dx, int relu,
                       const Pooling *p, int threads);
void average_pool(const float *x, float *y, const Pooling *p, int threads);
void average_pool_backward(const float *dy, float *dx, const Pooling *p, int threads);
