/* A register tile: sums of some rows by some columns, in registers while they grow.

   Rows, columns and with them all places of sums are constants where add_products is used. */

/* What one operand brings: its rows, so far apart; the packed weights; how deep both are. */
typedef struct {
    const number *rows;
    const real *weights;
    long stride, depth;
} factor;

enum { MOST_SUMS = 32, MOST_COLUMNS = 8 };
#define EACH(i, count) _Pragma("GCC unroll 32") for (int i = 0; i < (count); i++)

INLINE void add_products(vec *sums, const factor *of, long count, const int rows, const int columns)
{
    vec s[MOST_SUMS], w[MOST_COLUMNS];
    EACH(i, rows * columns) s[i] = sums[i];
    for (const factor *end = of + count; of < end; of++) {
        const number *a = of->rows;
        const real *weights = of->weights;
        const long stride = of->stride, depth = of->depth;
        for (long k = 0; k < depth; k++, weights += columns * LANES) {
            EACH(c, columns) w[c] = vec_load(weights + c * LANES);
            EACH(r, rows) {
                const number n = a[r * stride + k];
                EACH(c, columns) s[r * columns + c] = product(s[r * columns + c], n, w[c]);
            }
        }
    }
    EACH(i, rows * columns) sums[i] = s[i];
}
