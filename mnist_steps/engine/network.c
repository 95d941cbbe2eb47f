/* A training step of a network in five calls: prepare (in images.c), forward, loss, backward,
   update. */

#include "network.h"

#include <math.h>
#include <string.h>

int has_threads(void) {
#if defined _OPENMP
    return 1;
#else
    return 0;
#endif
}

static void batch_norm_evaluated(const Layer *l, void *scratch, int threads) {
    float *scale = l->saved, *shift = scale + l->shape.channels;
    for (int i = 0; i < l->shape.channels; i++) {
        scale[i] = l->weight.value[i] / sqrt(l->running_variance[i] + l->eps);
        shift[i] = l->bias.value[i] - l->running_mean[i] * scale[i];
    }
    scale_and_shift(l->x, scale, shift, l->y, l->relu, &l->shape, scratch, threads);
}

void forward(const Network *network, int threads) {
    void *scratch = network->scratch;
    for (const Layer *l = network->layer; l < network->layer + network->layers; l++)
        switch (l->kind) {
        case CONVOLUTION:
            convolution(l->x, l->weight.value, l->bias.value, l->y, l->relu, &l->convolution,
                        scratch, threads);
            break;
        case BATCH_NORM:
            if (network->training)
                batch_norm(l->x, l->weight.value, l->bias.value, l->running_mean,
                           l->running_variance, l->momentum, l->eps, l->saved, l->y, l->relu,
                           &l->shape, scratch, threads);
            else
                batch_norm_evaluated(l, scratch, threads);
            break;
        case RELU: relu(l->x, l->y, &l->shape, threads); break;
        case MAX_POOL: max_pool(l->x, l->y, &l->pooling, threads); break;
        default: average_pool(l->x, l->y, &l->pooling, threads);
        }
}

/* Whether the way back through this layer goes through the ReLU before it too. */
static int takes_relu_along(const Layer *l) {
    return l[-1].relu && l[-1].kind == CONVOLUTION
           && (l->kind == CONVOLUTION || l->kind == MAX_POOL);
}

/* The gradient of the first layer's input is not computed. */
void backward(const Network *network, int threads) {
    const Layer *first = network->layer, *last = first + network->layers - 1;
    float *gradient = network->turns[0], *spare = network->turns[1];
    void *scratch = network->scratch;
    for (const Layer *l = last; l >= first; l--) {
        const Convolution *c = &l->convolution;
        const int before = l > first && takes_relu_along(l);
        int in_place = 0;
        switch (l->kind) {
        case CONVOLUTION:
            if (l->relu && (l == last || !takes_relu_along(l + 1))) {
                const Shape output = {c->blocks, c->out_height, c->out_width, c->out_channels};
                relu_backward(l->y, gradient, &output, threads);
            }
            convolution_weight_gradient(l->x, gradient, l->weight.gradient, c, scratch, threads);
            if (l->bias.gradient)
                convolution_bias_gradient(gradient, l->bias.gradient, c, scratch, threads);
            if (l > first)
                convolution_input_gradient(gradient, l->weight.value, before ? l->x : NULL, spare,
                                           c, scratch, threads);
            break;
        case BATCH_NORM:
            batch_norm_backward(l->x, gradient, l->saved, l->weight.gradient, l->bias.gradient,
                                l->relu, &l->shape, scratch, threads);
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
}

double loss(Network *network, const unsigned char *labels, const int *chosen, int *correct) {
    const int count = network->count, classes = network->output_shape.channels;
    float *gradient = network->turns[0];
    double total = 0;
    *correct = 0;
    memset(gradient, 0, sizeof(float) * network->output_shape.blocks * classes * IMAGES);
    for (int number = 0; number < count; number++) {
        const long place = (long)(number / IMAGES) * classes * IMAGES + number % IMAGES;
        const float *score = network->output + place;
        const int label = labels[chosen[number]];
        if (label >= classes) return NAN;
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
        total += log_sum - score[label * IMAGES];
        *correct += best == label;
    }
    return total / count;
}

static void update_parameter(const Parameter *p, float learning_rate, float momentum,
                             float weight_decay, int nesterov) {
    for (int i = 0; i < p->size; i++) {
        float gradient = p->gradient[i] + weight_decay * p->value[i];
        if (p->velocity) {
            const float velocity = momentum * p->velocity[i] + gradient;
            p->velocity[i] = velocity;
            gradient = nesterov ? gradient + momentum * velocity : velocity;
        }
        p->value[i] -= learning_rate * gradient;
    }
}

void update(const Network *network, double learning_rate, double momentum, double weight_decay,
            int nesterov) {
    for (const Layer *l = network->layer; l < network->layer + network->layers; l++) {
        update_parameter(&l->weight, learning_rate, momentum, weight_decay, nesterov);
        update_parameter(&l->bias, learning_rate, momentum, weight_decay, nesterov);
    }
}
