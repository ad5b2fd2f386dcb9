/* Products of whole tiles of bfloat16 numbers (Intel's AMX): 16 rows by 16 columns of sums.

   Tiles 0 .. 5 hold sums, 6 rows of an operand, 7 weights. TILES_IN_C does the same in C, which
   tests the kernels on every processor. */

enum { TILE_DEPTH = 16, TILE_WIDTH = 64 }; /* pairs, and bytes of a tile's row */

#ifdef TILES_IN_C
static __thread struct { int rows; char tiles[8][16][TILE_WIDTH]; } tiles;

static void tile_begin(int rows) { memset(&tiles, 0, sizeof tiles), tiles.rows = rows; }
static void tile_end(void) { tiles.rows = 0; }
static int tile_height(int tile) { return tile == 7 ? TILE_DEPTH : tiles.rows; }
static void tile_load(int tile, const void *from, long apart)
{
    for (int r = 0; r < tile_height(tile); r++)
        memcpy(tiles.tiles[tile][r], (const char *)from + r * apart, TILE_WIDTH);
}
static void tile_store(int tile, void *to, long apart)
{
    for (int r = 0; r < tile_height(tile); r++)
        memcpy((char *)to + r * apart, tiles.tiles[tile][r], TILE_WIDTH);
}
static void tile_add(int sums)
{
    for (int r = 0; r < tiles.rows; r++)
        for (int k = 0; k < TILE_DEPTH; k++) {
            vec *sum = (vec *)tiles.tiles[sums][r];
            *sum = product(*sum, ((uint32_t *)tiles.tiles[6][r])[k], *(vec *)tiles.tiles[7][k]);
        }
}
#else
static void tile_begin(int rows)
{
    /* palette 1; bytes of a row and number of rows of each tile */
    struct { uint8_t palette, start, unused[14]; uint16_t widths[16]; uint8_t heights[16]; }
        shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shape.widths[tile] = TILE_WIDTH;
        shape.heights[tile] = tile == 7 ? TILE_DEPTH : rows;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(shape));
}
static void tile_end(void) { __asm__ volatile("tilerelease"); }
/* a tile's number is part of the instruction */
#define SIX(of) of(0) of(1) of(2) of(3) of(4) of(5)
#define LOAD(tile) \
    case tile: __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(from), "r"(apart) : "memory"); break;
#define STORE(tile) \
    case tile: __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(to), "r"(apart) : "memory"); break;
#define ADD(tile) \
    case tile: __asm__ volatile("tdpbf16ps %%tmm7, %%tmm6, %%tmm" #tile : : :); break;
INLINE void tile_load(int tile, const void *from, long apart) { switch (tile) { SIX(LOAD) LOAD(6) LOAD(7) } }
INLINE void tile_store(int tile, void *to, long apart) { switch (tile) { SIX(STORE) } }
INLINE void tile_add(int sums) { switch (sums) { SIX(ADD) } }
#endif

/* Tiles of so many rows, until this thread gives them back: other libraries shape them too. */
static __thread int tile_rows_now;
static void tile_rows(int rows)
{
    if (tile_rows_now != rows)
        tile_begin(tile_rows_now = rows);
}
static void tile_give_back(void)
{
    if (tile_rows_now)
        tile_end();
    tile_rows_now = 0;
}

enum { TILE_SUMS = 6 }; /* tiles that hold sums */

/* As add_products, for more rows than that is compiled for: whole tiles as deep as they go, for some
   columns of sums after the other, and pairs of rows and columns from there. */
INLINE void add_tiles(vec *sums, const factor *of, long count, long rows, const int columns)
{
    const long apart = columns * sizeof(vec);
    for (const factor *end = of + count; of < end; of++) {
        const long whole = of->depth - of->depth % TILE_DEPTH;
        if (whole)
            tile_rows(rows);
        for (int begin = 0; begin < columns && whole; begin += TILE_SUMS) {
            const int some = columns - begin < TILE_SUMS ? columns - begin : TILE_SUMS;
            EACH(c, some) tile_load(c, sums + begin + c, apart);
            for (long k = 0; k < whole; k += TILE_DEPTH) {
                tile_load(TILE_SUMS, of->rows + k, of->stride * sizeof(number));
                EACH(c, some) {
                    tile_load(TILE_SUMS + 1, of->weights + (k * columns + begin + c) * LANES, apart);
                    tile_add(c);
                }
            }
            EACH(c, some) tile_store(c, sums + begin + c, apart);
        }
        for (long k = whole; k < of->depth; k++)
            for (long r = 0; r < rows; r++)
                for (int c = 0; c < columns; c++)
                    sums[r * columns + c] = product(sums[r * columns + c], of->rows[r * of->stride + k],
                                                    vec_load(of->weights + (k * columns + c) * LANES));
    }
}
