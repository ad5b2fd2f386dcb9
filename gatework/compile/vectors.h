/* Vectors of LANES reals and the functions of the primitives over them.

   GCC's and Clang's vector extensions: one text for AVX-512, AVX2 and plain processors. real is
   float or double, LANES a power of two. The functions are branch-free polynomials; where a
   primitive is rare (log, softplus) it goes lane by lane through the C library. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef real vec __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));
#if DOUBLE
typedef int64_t whole;
#else
typedef int32_t whole;
#endif
typedef whole ivec __attribute__((vector_size(LANES * sizeof(real)), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vec vec_load(const real *p) { return *(const vec *)p; }
INLINE void vec_store(real *p, vec a) { *(vec *)p = a; }
INLINE vec vec_all(real a) { return a - (vec){}; }

/* mask lanes are all ones or all zeros, as comparisons give them */
INLINE vec vec_pick(ivec mask, vec yes, vec no)
{
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

INLINE real vec_sum(vec a)
{
    real sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += a[i];
    return sum;
}

INLINE real vec_largest(vec a)
{
    real most = a[0];
    for (int i = 1; i < LANES; i++)
        if (!(most >= a[i]) && most == most)
            most = a[i];
    return most;
}

/* the first lanes, and another number behind them */
INLINE vec vec_first(vec a, long count, real rest)
{
    ivec place;
    for (int i = 0; i < LANES; i++)
        place[i] = i;
    return vec_pick(place < (whole)count, a, vec_all(rest));
}

/* the sums of the lanes up to each one, and of each one and those behind it */
INLINE vec vec_up_to(vec a)
{
    for (int i = 1; i < LANES; i++)
        a[i] += a[i - 1];
    return a;
}

INLINE vec vec_from(vec a)
{
    for (int i = LANES - 1; i > 0; i--)
        a[i - 1] += a[i];
    return a;
}

/* a NaN is larger than any number, as in torch */
INLINE vec vec_larger(vec a, vec b) { return vec_pick((a >= b) | (a != a), a, b); }

INLINE vec vec_abs(vec a)
{
#if DOUBLE
    return (vec)((ivec)a & INT64_MAX);
#else
    return (vec)((ivec)a & INT32_MAX);
#endif
}

/* Adding and taking away 2^52 (2^23) rounds to a whole number; what is as large is one already,
   and a NaN stays one. */
INLINE vec vec_floor(vec a)
{
    const real limit = DOUBLE ? 4503599627370496.0 : 8388608.0;
    vec size = vec_abs(a), near = size + limit - limit;
    near = vec_pick(a < 0, -near, near);
    near -= vec_pick(near > a, vec_all(1), vec_all(0));
    return vec_pick(size < limit, near, a);
}

INLINE vec vec_positive(vec a) { return vec_pick(a > 0, vec_all(1), vec_all(0)); }

/* exp(a) = 2^(n - 1) 2 exp(r), n whole, |r| <= ln 2 / 2; n ln 2 is taken off in two parts (Cody &
   Waite), 2 exp(r) is twice its Taylor polynomial, whose next term is below half a unit in the last
   place. So 2^(n - 1) is a number for all results up to the largest one; behind that they are
   infinite, and below 1.5 times the smallest normal number they are 0. */
INLINE vec vec_exp(vec a)
{
#if DOUBLE
    const real low = -708.3, high = 709.8, log2e = 1.4426950408889634, magic = 6755399441055744.0;
    const real ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
    static const real terms[] = {
        3.2118087673643227e-10, 4.17535139757362e-9, 5.010421677088344e-8, 5.511463844797179e-7,
        5.5114638447971785e-6, 4.96031746031746e-5, 3.968253968253968e-4, 2.777777777777778e-3,
        1.6666666666666666e-2, 8.333333333333333e-2, 3.333333333333333e-1, 1, 2, 2};
    const int bits = 52, below = 1022;
#else
    const real low = -87.3f, high = 88.8f, log2e = 1.44269504f, magic = 12582912.0f;
    const real ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static const real terms[] = {3.96825397e-4f, 2.77777778e-3f, 1.66666667e-2f, 8.33333333e-2f,
                                 3.33333333e-1f, 1, 2, 2};
    const int bits = 23, below = 126;
#endif
    vec x = vec_pick(a < low, vec_all(low), a);
    x = vec_pick(x > high, vec_all(high), x); /* a NaN passes both comparisons and stays */
    vec shifted = x * log2e + magic;      /* adding the magic number rounds to a whole one */
    vec n = shifted - magic;
    vec r = x - n * ln2_high - n * ln2_low;
    vec y = vec_all(terms[0]);
    for (unsigned i = 1; i < sizeof terms / sizeof *terms; i++)
        y = y * r + terms[i];
    ivec power = (((ivec)shifted - (ivec)vec_all(magic)) + below) << bits; /* the least one is 0 */
    return y * (vec)power;
}

/* tanh(a) = 1 - 2 / (exp(2|a|) + 1) with a's sign; near 0, where that loses digits, the odd
   polynomial a + a^3 P(a^2), fitted to tanh on |a| <= 0.625. */
INLINE vec vec_tanh(vec a)
{
    vec size = vec_abs(a), z = a * a, far, near;
    far = 1 - 2 / (vec_exp(2 * size) + 1);
    far = vec_pick(a < 0, -far, far);
#if DOUBLE
    vec p = ((-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z
             - 1.61468768441708447952e3);
    vec q = (((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z
             + 4.84406305325125486048e3);
    near = a + a * z * (p / q);
#else
    near = ((((-5.70498872745e-3f * z + 2.06390887954e-2f) * z - 5.37397155531e-2f) * z
             + 1.33314422036e-1f) * z - 3.33332819422e-1f) * z * a + a;
#endif
    return vec_pick(size < (real)0.625, near, far);
}

#if DOUBLE
#define SCALAR(name) name
#else
#define SCALAR(name) name##f
#endif
#define LANE_BY_LANE(name, text) \
    INLINE vec name(vec v) { for (int i = 0; i < LANES; i++) { real a = v[i]; v[i] = text; } return v; }
LANE_BY_LANE(vec_log, SCALAR(log)(a))
LANE_BY_LANE(vec_sqrt, SCALAR(sqrt)(a))
LANE_BY_LANE(vec_softplus, SCALAR(fmax)(a, 0) + SCALAR(log1p)(SCALAR(exp)(-SCALAR(fabs)(a))))
