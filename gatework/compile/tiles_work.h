/* Asked once, before the first kernel with tiles: not every system lets a process have them. */

#include <sys/syscall.h>
#include <unistd.h>

static int tiles_allowed(void)
{
#ifdef TILES_IN_C
    return 1;
#else
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* of arch_prctl; the kernel saves tiles if asked */
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#endif
}

/* Whether tiles may be used here, and give what sums over pairs give: asked before the first use. */
int tiles_work(void)
{
    uint32_t a[5 * TILE_DEPTH];
    real w[TILE_DEPTH * LANES], sums[5 * LANES];
    if (LANES * sizeof(real) != TILE_WIDTH || !tiles_allowed())
        return 0;
    /* small whole numbers, which bfloat16 and sums of floats hold exactly */
    for (int i = 0; i < 5 * TILE_DEPTH; i++)
        a[i] = (uint32_t)half_of(i % 7 - 3) | (uint32_t)half_of(i % 5 - 2) << 16;
    for (int i = 0; i < TILE_DEPTH * LANES; i++) {
        const uint32_t pair = (uint32_t)half_of(i % 11 - 5) | (uint32_t)half_of(i % 3 - 1) << 16;
        memcpy(w + i, &pair, sizeof pair);
    }
    for (int i = 0; i < 5 * LANES; i++)
        sums[i] = i % 13;
    tile_begin(5);
    tile_load(0, sums, TILE_WIDTH);
    tile_load(6, a, TILE_WIDTH);
    tile_load(7, w, TILE_WIDTH);
    tile_add(0);
    tile_store(0, sums, TILE_WIDTH);
    tile_end();
    for (int r = 0; r < 5; r++) {
        vec sum;
        for (int i = 0; i < LANES; i++)
            sum[i] = (r * LANES + i) % 13;
        for (int k = 0; k < TILE_DEPTH; k++)
            sum = product(sum, a[r * TILE_DEPTH + k], vec_load(w + k * LANES));
        if (memcmp(&sum, sums + r * LANES, sizeof sum))
            return 0;
    }
    return 1;
}
