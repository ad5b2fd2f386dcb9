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
            *sum = half_product(*sum, ((uint32_t *)tiles.tiles[6][r])[k], *(vec *)tiles.tiles[7][k]);
        }
}
#define TILE_LOAD(tile, from, apart) tile_load(tile, from, apart)
#define TILE_STORE(tile, to, apart) tile_store(tile, to, apart)
#define TILE_ADD(sums) tile_add(sums)
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
#define TILE_LOAD(tile, from, apart) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(from), "r"((long)(apart)) : "memory")
#define TILE_STORE(tile, to, apart) \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(to), "r"((long)(apart)) : "memory")
#define TILE_ADD(sums) __asm__ volatile("tdpbf16ps %%tmm7, %%tmm6, %%tmm" #sums : : :)
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
