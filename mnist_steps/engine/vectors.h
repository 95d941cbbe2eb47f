/* What convolution.c and layers.c compute with.

What is called a vec is one pixel of one channel of WIDTH images; PARTS of them make the sixteen.
A result does not depend on the number of threads: what threads add up, they add up in separate
places, and one of them joins these in order. */

#include "layers.h"

#include <math.h>
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

INLINE int smaller(int a, int b) { return a < b ? a : b; }
INLINE int larger(int a, int b) { return a > b ? a : b; }

/* value, but 0 where `by` is not above 0. A NaN compares false, and lets pass. */
INLINE vec passed(vec value, vec by) { return (vec)((mask)value & ~(mask)(by <= 0)); }
INLINE vec rectified(vec value) { return passed(value, value); }

/* The sum of each channel's IMAGES numbers. */
INLINE void gather(double *to, const vec *sums, int channels) {
    for (int channel = 0; channel < channels; channel++) {
        double sum = 0;
        for (int part = 0; part < PARTS; part++)
            for (int lane = 0; lane < WIDTH; lane++) sum += sums[channel * PARTS + part][lane];
        to[channel] = sum;
    }
}
