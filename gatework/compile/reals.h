/* Factors of products as reals. */

typedef real number;

INLINE vec product(vec sum, number n, vec weights) { return sum + n * weights; }
