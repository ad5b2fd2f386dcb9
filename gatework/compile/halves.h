/* Products of bfloat16 numbers, summed in float: weights and operands stand in pairs.

   A pair of neighbours k, k + 1 takes the place of one float, so arrays of weights are half as
   deep. Where the processor has no instruction for it, two fused multiply-adds do the same. */

typedef uint16_t half_vec __attribute__((vector_size(LANES * sizeof(uint16_t)), aligned(2), may_alias));

/* rounded to the nearest, ties to even; a NaN stays one */
INLINE ivec half_bits(vec a)
{
    ivec bits = (ivec)a;
    ivec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (ivec)vec_pick(a == a, (vec)rounded, (vec)((bits >> 16) | 0x40));
}

INLINE void half_store(uint16_t *p, vec a)
{
    *(half_vec *)p = __builtin_convertvector(half_bits(a), half_vec);
}

/* one part of a number, as a number: itself, or what the first part leaves of it */
INLINE vec half_part(vec a, int part)
{
    return part ? a - (vec)(half_bits(a) << 16) : a + 0;
}

/* a pair of factors of products */
typedef uint32_t number;

/* the instruction by name: the header that has it as a function takes longer than a whole kernel */
#if defined(__AVX512BF16__) && LANES == 16
INLINE vec product(vec sum, number pair, vec weights)
{
    const ivec pairs = (ivec){} + (int32_t)pair;
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(pairs), "vm"(weights));
    return sum;
}
#else
INLINE vec product(vec sum, number pair, vec weights)
{
    union { uint32_t bits; float number; } first = {pair << 16}, second = {pair & 0xffff0000u};
    sum += first.number * (vec)((ivec)weights << 16);
    return sum + second.number * (vec)((ivec)weights & (ivec)((ivec){} + (int32_t)0xffff0000));
}
#endif

static uint16_t half_of(real a)
{
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    return a == a ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : bits >> 16 | 0x40;
}

static real half_rest(real a)
{
    const uint32_t bits = (uint32_t)half_of(a) << 16;
    real first;
    memcpy(&first, &bits, sizeof first);
    return a - first;
}

/* As pack in runtime.h, two neighbours of the depth in the place of one number; dims has a seventh
   number, the part that is packed. */
void pack_halves(const long *dims, void *const *matrices, real *to)
{
    const long products = dims[0], repeat = dims[1], units = dims[2], depth = dims[3];
    const long stride = dims[4], across = dims[5] ? stride : 1, along = dims[5] ? 1 : stride;
    const long block = repeat * LANES, part = dims[6];
    uint16_t *half = (uint16_t *)to;
    for (long j = 0; j < units; j += block)
        for (long k = 0; k < depth; k += 2)
            for (long p = 0; p < products; p++)
                for (long u = 0; u < block; u++)
                    for (long next = k; next < k + 2; next++) {
                        const int there = j + u < units && next < depth;
                        const real *from = (const real *)matrices[p];
                        const real a = there ? from[next * across + (j + u) * along] : 0;
                        *half++ = half_of(part ? half_rest(a) : a);
                    }
}
