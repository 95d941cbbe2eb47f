/* A network as layout.c lays it out: every layer's settings and its places in memory. Who calls
   from outside, Python or JavaScript, holds a Network by its address and knows nothing of it. */

#include "layers.h"

#if defined _WIN32
#define OFFERED __declspec(dllexport)
#else
#define OFFERED __attribute__((visibility("default")))
#endif

enum Kind { CONVOLUTION, BATCH_NORM, RELU, MAX_POOL, AVERAGE_POOL, KINDS };

/* gradient is NULL in evaluation, velocity without momentum, all three where there is none. */
typedef struct {
    float *value, *gradient, *velocity;
    int size;
} Parameter;

/* relu: whether 0 takes the place of what is below 0 in the output
   saved: four numbers a channel, of batch normalization
   x, y: where the layer reads and writes */
typedef struct {
    enum Kind kind;
    int relu;
    Shape shape;              /* of the map that it reads */
    Convolution convolution;
    Pooling pooling;
    Parameter weight, bias;
    float *running_mean, *running_variance, *saved;
    double momentum, eps;
    float *x, *y;
} Layer;

/* count: of images in a batch, each channels x height x width
   turns: two places with room for any map; the loss leaves its gradient in the first */
typedef struct {
    int count, channels, height, width, training, layers;
    float *input, *output, *turns[2];
    Shape output_shape;
    void *scratch;
    Layer layer[];
} Network;

/* Lays out a network in `memory`, whose bytes it returns; with NULL it only counts them. A problem
   with the description is returned below 0, for `problem`.

   numbers: the description, of which layout.c says what they mean
   tensors: what stays where it is, for each layer in its order: the values, the gradient and the
       velocity of its weight, the same of its bias if it has one, and for batch normalization the
       running mean and variance; may be NULL where memory is
   memory: aligned to 64 bytes
   found: channels, height and width of the output; with a problem, in the first one, which layer
       has it, or -1 for the network as a whole */
OFFERED int lay_out(const double *numbers, int length, void *const *tensors, void *memory,
                    int *found);
/* In words. */
OFFERED const char *problem(int returned);

/* Whether `threads` below mean anything. */
OFFERED int has_threads(void);

/* The chosen images as the next batch, each under a map of its own unless maps is NULL; pixels
   become (pixel - mean) / sd. For networks that read one channel.
   images: [image][row][column], 0 to 255; chosen: the numbers of `count` of them
   maps: [image][2][3], from output to input, both from -1 to 1 */
OFFERED void prepare(Network *network, const unsigned char *images, const int *chosen,
                     const float *maps, double mean, double sd, int threads);
double prepare_room(int blocks, int height, int width);
/* images: [image][channel][row][column], as the next batch */
OFFERED void load(Network *network, const float *images);

OFFERED void forward(const Network *network, int threads);
/* The output: [image][channel][row][column] */
OFFERED void result(const Network *network, float *output);

/* The mean negative log-likelihood of softmax over an output of one pixel; `backward` finds its
   gradient. labels: of all images. Counts in *correct how many images of the batch have their
   largest score, the first of equals, at the label. A label that is no class gives NAN. */
OFFERED double loss(Network *network, const unsigned char *labels, const int *chosen,
                    int *correct);
/* Instead of a loss: the output's gradient, laid out as `result` gives the output. */
OFFERED void pass_back(Network *network, const float *gradient);
/* Writes the gradients of all parameters. */
OFFERED void backward(const Network *network, int threads);
/* Stochastic gradient descent as torch.optim.SGD; velocity starts at 0. */
OFFERED void update(const Network *network, double learning_rate, double momentum,
                    double weight_decay, int nesterov);
