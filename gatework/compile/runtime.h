/* What all kernels share: packing weights, threads that share rows or columns, meeting points. */

#include <sched.h>

#define CACHE_LINE 64

/* The weights of one tile and operand in the order in which the tile reads them: blocks of units,
   depth, products, columns of a block, lanes. dims: products, columns of a block, units, depth,
   distance between rows of the matrices, whether they are read transposed. */
void pack(const long *dims, void *const *matrices, real *to)
{
    const long products = dims[0], repeat = dims[1], units = dims[2], depth = dims[3];
    const long stride = dims[4], across = dims[5] ? stride : 1, along = dims[5] ? 1 : stride;
    const long block = repeat * LANES;
    for (long j = 0; j < units; j += block)
        for (long k = 0; k < depth; k++)
            for (long p = 0; p < products; p++) {
                const real *from = (const real *)matrices[p] + k * across + j * along;
                const long there = units - j < block ? units - j : block;
                for (long u = 0; u < there; u++, from += along)
                    *to++ = *from;
                for (long u = there; u < block; u++)
                    *to++ = 0;
            }
}

/* Whether so many pieces of memory, of these lengths in bytes, hold the same. */
int same(long count, void *const *some, void *const *others, const long *bytes)
{
    for (long i = 0; i < count; i++)
        if (memcmp(some[i], others[i], bytes[i]))
            return 0;
    return 1;
}

/* Wait until all threads of a group have come here. The counter and the round lie on cache lines
   of their own. Threads that wait long give way to others: there may be fewer processors. */
static void meet(int *place, long threads)
{
    int *round = place + CACHE_LINE / sizeof(int);
    const int now = __atomic_load_n(round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(place, 1, __ATOMIC_ACQ_REL) == threads) {
        __atomic_store_n(place, 0, __ATOMIC_RELAXED);
        __atomic_store_n(round, now + 1, __ATOMIC_RELEASE);
        return;
    }
    for (long spins = 0; __atomic_load_n(round, __ATOMIC_ACQUIRE) == now; spins++)
        if (spins > 4000)
            sched_yield();
}

/* OpenMP's entry points, of the runtime that is loaded already: there must not be a second one. */
typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
    int (*thread)(void), (*threads)(void);
} team;

INLINE long blocks(long units, long block) { return (units + block - 1) / block; }

/* What a column j of a block-diagonal matrix reads: its own block of the depth. The blocks are so
   many units wide and so many numbers deep; a column of the padding belongs to the last one. */
INLINE long block_begin(long j, long units, long depth, long count)
{
    const long block = j / units;
    return (block < count ? block : count - 1) * depth;
}
INLINE long block_end(long j, long units, long depth, long count)
{
    return block_begin(j, units, depth, count) + depth;
}

/* The largest part of a number of rows that a register tile takes, so that all are about equal. */
INLINE long next_rows(long left, long most)
{
    return blocks(left, blocks(left, most));
}
