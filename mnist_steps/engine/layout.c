/* A list of numbers becomes a network in memory. The list may come from strangers: every number of
   it is checked before it is used, and every size is counted before memory is given away.

   The list: how many images a batch has, their channels, height and width, and 1 for training or 0
   for evaluation; then for each layer its kind, a number of enum Kind, and
       CONVOLUTION              in channels, out channels; kernel height, width; stride; dilation;
                                padding height, width; 1 with bias; 1 where its weight lies as
                                [out][row][column][in], and not as [out][in][row][column]
       BATCH_NORM               channels, momentum, eps
       RELU                     nothing
       MAX_POOL, AVERAGE_POOL   window height, width, or twice 0: the whole map; stride down, across */

#include "network.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>

/* Products of two such sizes are ints. */
#define LARGEST_SIZE 32767
/* Of bytes: whatever is counted of a network that passes is an int. */
#define MOST_MEMORY INT_MAX

enum Problem {
    NONE, TOO_SHORT, UNKNOWN_KIND, NO_SIZE, NO_SETTING, CHANNELS, STRIDE, PADDING, WINDOW, BATCH, MEMORY,
    NO_LAYERS, PROBLEMS
};

static const char *const IN_WORDS[PROBLEMS] = {
    [NONE] = "it is as it should be",
    [TOO_SHORT] = "the list of numbers ends inside its description",
    [UNKNOWN_KIND] = "it is of a kind that the engine does not have",
    [NO_SIZE] = "its sizes must be whole numbers from 1 to 32767",
    [NO_SETTING] = "a setting of it is out of range",
    [CHANNELS] = "it reads another number of channels than it is given",
    [STRIDE] = "only the first layer may have a stride",
    [PADDING] = "its padding must be smaller than what its kernel spans",
    [WINDOW] = "its kernel or window is larger than the map that it reads",
    [BATCH] = "a batch for training must have a multiple of 16 images",
    [MEMORY] = "it needs more memory than the engine uses, 2 GiB",
    [NO_LAYERS] = "it has no layers",
};

const char *problem(int returned) {
    return IN_WORDS[returned < 0 && returned > -PROBLEMS ? -returned : NONE];
}

/* The list on its way to a network, twice: first all is counted, and memory is NULL, then placed.
   used, largest, scratch: bytes of what is placed, of the largest map, of the largest scratch */
typedef struct {
    const double *next, *end;
    void *const *tensors;
    char *memory;
    double used, largest, scratch;
    enum Problem problem;
    int layer;                /* which is read, or -1 */
    Shape shape;              /* of the last map */
    float *map;
} Plan;

static void complain(Plan *plan, enum Problem found) {
    if (!plan->problem) plan->problem = found;
}

static double number(Plan *plan) {
    if (plan->next < plan->end) return *plan->next++;
    complain(plan, TOO_SHORT);
    return 1;
}

static int whole_number(Plan *plan, int least, int most, enum Problem otherwise) {
    const double found = number(plan);
    if (found >= least && found <= most && found == floor(found)) return found;
    complain(plan, otherwise);
    return least;
}

static int size(Plan *plan) { return whole_number(plan, 1, LARGEST_SIZE, NO_SIZE); }

static double setting(Plan *plan) {
    const double found = number(plan);
    if (found >= 0 && found <= 1) return found;
    complain(plan, NO_SETTING);
    return 0;
}

static void keep_within_memory(Plan *plan) {
    const double bytes = plan->used + 2 * plan->largest + plan->scratch;
    if (!(bytes <= MOST_MEMORY) && !plan->memory) complain(plan, MEMORY);
}

/* Memory of its own for so many bytes, or NULL while it is counted. */
static void *place(Plan *plan, double bytes) {
    const double at = plan->used;
    plan->used += ceil(bytes / 64) * 64;
    keep_within_memory(plan);
    return plan->memory ? plan->memory + (size_t)at : NULL;
}

/* Memory that layers use one after another. */
static void need(Plan *plan, double *most, double bytes) {
    *most = fmax(*most, ceil(bytes / 64) * 64);
    keep_within_memory(plan);
}

static double bytes_of(Shape shape) {
    return (double)shape.blocks * shape.height * shape.width * shape.channels * IMAGES
           * sizeof(float);
}

static void *tensor(Plan *plan) { return plan->memory ? *plan->tensors++ : NULL; }

static Parameter parameter(Plan *plan, int size) {
    Parameter result = {.size = size};
    result.value = tensor(plan);
    result.gradient = tensor(plan);
    result.velocity = tensor(plan);
    return result;
}

static void read_convolution(Plan *plan, Layer *layer) {
    const Shape in = plan->shape;
    if (size(plan) != in.channels) complain(plan, CHANNELS);
    Convolution c = {.blocks = in.blocks, .in_channels = in.channels, .in_height = in.height,
                     .in_width = in.width, .out_channels = size(plan)};
    c.kernel_height = size(plan);
    c.kernel_width = size(plan);
    c.stride = size(plan);
    c.dilation = size(plan);
    c.padding_height = whole_number(plan, 0, LARGEST_SIZE, NO_SIZE);
    c.padding_width = whole_number(plan, 0, LARGEST_SIZE, NO_SIZE);
    const int with_bias = whole_number(plan, 0, 1, NO_SETTING);
    const int channels_last = whole_number(plan, 0, 1, NO_SETTING);
    if (c.stride > 1 && plan->layer) complain(plan, STRIDE);
    const int height = span(c.kernel_height, &c), width = span(c.kernel_width, &c);
    if (c.padding_height >= height || c.padding_width >= width) complain(plan, PADDING);
    const int spare_height = c.in_height + 2 * c.padding_height - height;
    const int spare_width = c.in_width + 2 * c.padding_width - width;
    if (spare_height < 0 || spare_width < 0) complain(plan, WINDOW);
    if (plan->problem) return;
    c.out_height = spare_height / c.stride + 1;
    c.out_width = spare_width / c.stride + 1;
    need(plan, &plan->scratch, convolution_room(&c));
    if (plan->problem) return;
    const int taps = c.kernel_height * c.kernel_width;
    c.next_out = c.in_channels * taps;
    c.next_in = channels_last ? 1 : taps;
    c.next_row = c.kernel_width * (channels_last ? c.in_channels : 1);
    c.next_column = channels_last ? c.in_channels : 1;
    layer->convolution = c;
    layer->weight = parameter(plan, c.out_channels * c.next_out);
    if (with_bias) layer->bias = parameter(plan, c.out_channels);
    plan->shape = (Shape){c.blocks, c.out_height, c.out_width, c.out_channels};
}

static void read_batch_norm(Plan *plan, Layer *layer) {
    if (size(plan) != plan->shape.channels) complain(plan, CHANNELS);
    layer->momentum = setting(plan);
    layer->eps = setting(plan);
    layer->weight = parameter(plan, plan->shape.channels);
    layer->bias = parameter(plan, plan->shape.channels);
    layer->running_mean = tensor(plan);
    layer->running_variance = tensor(plan);
    layer->saved = place(plan, 4.0 * sizeof(float) * plan->shape.channels);
    need(plan, &plan->scratch, batch_norm_room(&plan->shape));
}

static void read_pooling(Plan *plan, Layer *layer) {
    const Shape in = plan->shape;
    int height = whole_number(plan, 0, LARGEST_SIZE, NO_SIZE);
    int width = whole_number(plan, 0, LARGEST_SIZE, NO_SIZE);
    int down = size(plan), across = size(plan);
    if (!height && !width) {  /* one window, which overlaps with none */
        height = down = in.height;
        width = across = in.width;
    }
    if (!height || !width) complain(plan, NO_SIZE);
    if (height > in.height || width > in.width) complain(plan, WINDOW);
    if (plan->problem) return;
    layer->pooling
        = (Pooling){in.blocks, in.height, in.width, in.channels, height, width, down, across};
    plan->shape.height = (in.height - height) / down + 1;
    plan->shape.width = (in.width - width) / across + 1;
}

/* A network's layer, or the ReLU of the one before. Returns how many layers that adds. */
static int read_layer(Plan *plan, Layer *before, Layer *layer, const Network *network) {
    *layer = (Layer){.kind = whole_number(plan, 0, KINDS - 1, UNKNOWN_KIND), .shape = plan->shape};
    if (plan->problem) return 0;
    if (layer->kind == RELU && before && !before->relu
        && (before->kind == CONVOLUTION || before->kind == BATCH_NORM)) {
        before->relu = 1;
        return 0;
    }
    switch (layer->kind) {
    case CONVOLUTION: read_convolution(plan, layer); break;
    case BATCH_NORM: read_batch_norm(plan, layer); break;
    case MAX_POOL: case AVERAGE_POOL: read_pooling(plan, layer); break;
    default: break;
    }
    if (plan->problem) return 0;
    const double bytes = bytes_of(plan->shape);
    need(plan, &plan->largest, bytes);
    /* Backward needs what every layer wrote. Otherwise two places serve in turn, one that is read
       and one that is written; so they do for gradients. */
    layer->x = plan->map;
    if (layer->kind != RELU && !(layer->kind == BATCH_NORM && !network->training))
        plan->map = network->training ? place(plan, bytes)
                                      : network->turns[plan->map == network->turns[0]];
    layer->y = plan->map;
    return 1;
}

static void read_network(Plan *plan) {
    /* each layer takes one number or more */
    Network *network
        = place(plan, sizeof(Network) + (double)(plan->end - plan->next) * sizeof(Layer));
    Network head = {.count = size(plan)};
    head.channels = size(plan);
    head.height = size(plan);
    head.width = size(plan);
    head.training = whole_number(plan, 0, 1, NO_SETTING);
    if (head.training && head.count % IMAGES) complain(plan, BATCH);
    const int blocks = (head.count + IMAGES - 1) / IMAGES;
    plan->shape = (Shape){blocks, head.height, head.width, head.channels};
    need(plan, &plan->largest, bytes_of(plan->shape));
    need(plan, &plan->scratch, prepare_room(blocks, head.height, head.width));
    if (plan->memory) {
        head.turns[0] = place(plan, plan->largest);
        head.turns[1] = place(plan, plan->largest);
        head.scratch = place(plan, plan->scratch);
    }
    head.input = plan->map
        = head.training ? place(plan, bytes_of(plan->shape)) : head.turns[0];
    Layer read[2], *before = NULL;
    for (int i = 0; !plan->problem && plan->next < plan->end; i++) {
        plan->layer = i;
        Layer *layer = plan->memory ? network->layer + head.layers : read + head.layers % 2;
        if (read_layer(plan, before, layer, &head)) {
            before = layer;
            head.layers++;
        }
    }
    if (!plan->problem && !head.layers) complain(plan, NO_LAYERS);
    head.output = plan->map;
    head.output_shape = plan->shape;
    if (plan->memory) *network = head;
}

int lay_out(const double *numbers, int length, void *const *tensors, void *memory, int *found) {
    Plan plan = {.next = numbers, .end = numbers + length, .layer = -1};
    read_network(&plan);
    if (plan.problem) {
        found[0] = plan.layer;
        return -(int)plan.problem;
    }
    found[0] = plan.shape.channels;
    found[1] = plan.shape.height;
    found[2] = plan.shape.width;
    if (memory) {
        Plan placed = {.next = numbers, .end = numbers + length, .layer = -1, .tensors = tensors,
                       .memory = memory, .largest = plan.largest, .scratch = plan.scratch};
        read_network(&placed);
    }
    return plan.used + 2 * plan.largest + plan.scratch;
}
