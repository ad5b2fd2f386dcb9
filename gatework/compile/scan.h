/* The recurrence s[t] = a[t] * s[t - 1] + b[t], unit by unit, and its gradient.

   All arrays are (T, B, H); s, its gradient and first (B, H) without gaps. Rows and steps of a and b
   may lie anywhere, and one may be for all; so may one unit of a (a_unit is 0, else 1). No unit needs another: threads share them and never meet. */

typedef struct {
    long T, B, H, a_step, a_row, a_unit, b_step, b_row, threads;
} scan_sizes;

typedef struct {
    const scan_sizes *n;
    const real *a, *b, *first, *s;
    real *to, *by_a; /* by_a: the gradient by a; without it the way is forward */
    const team *with;
} scan_job;

/* to = a * was + b, and b where a is nought, whatever was there: a state that is set anew */
INLINE void scan_line(long count, const real *a, long a_unit, const real *was, const real *b,
                      real *to)
{
    long i = 0;
    for (; i + LANES <= count; i += LANES) {
        const vec by = a_unit ? vec_load(a + i) : vec_all(*a), rest = vec_load(b + i);
        vec_store(to + i, vec_pick(by == 0, rest, by * vec_load(was + i) + rest));
    }
    for (; i < count; i++)
        to[i] = a[i * a_unit] == 0 ? b[i] : a[i * a_unit] * was[i] + b[i];
}

/* to = a * b */
INLINE void scan_product(long count, const real *a, const real *b, real *to)
{
    long i = 0;
    for (; i + LANES <= count; i += LANES)
        vec_store(to + i, vec_load(a + i) * vec_load(b + i));
    for (; i < count; i++)
        to[i] = a[i] * b[i];
}

/* The units from begin to end of all rows of one step. */
INLINE void scan_step(const scan_job *job, long t, long begin, long end)
{
    const scan_sizes *n = job->n;
    const long all = n->B * n->H, back = job->by_a != NULL;
    const long from = t + (back ? 1 : -1);           /* the step before this one, on this way */
    const real *was = from < 0 ? job->first : job->to + from * all;
    for (long unit = begin, count; unit < end; unit += count) {
        const long row = unit / n->H, column = unit % n->H;
        count = n->H - column < end - unit ? n->H - column : end - unit;
        const real *b = job->b + t * n->b_step + row * n->b_row + column;
        const real *a = job->a + (t + back) * n->a_step + row * n->a_row + column * n->a_unit;
        real *to = job->to + t * all + unit;
        if (from == n->T)
            memcpy(to, b, count * sizeof *to);
        else
            scan_line(count, a, n->a_unit, was + unit, b, to);
        if (back)
            scan_product(count, to, (t ? job->s + (t - 1) * all : job->first) + unit,
                         job->by_a + t * all + unit);
    }
}

static void scan_part(const scan_job *job, long part, long parts)
{
    const long T = job->n->T, all = job->n->B * job->n->H, columns = blocks(all, LANES);
    const long begin = columns * part / parts * LANES, limit = columns * (part + 1) / parts * LANES;
    const long end = limit < all ? limit : all;
    for (long i = 0; i < T; i++)
        scan_step(job, job->by_a ? T - 1 - i : i, begin, end);
}

static void scan_thread(void *argument)
{
    const scan_job *job = argument;
    scan_part(job, job->with->thread(), job->with->threads());
}

static void scan_run(const scan_job *job)
{
    if (job->n->threads > 1)
        job->with->parallel(scan_thread, (void *)job, job->n->threads, 0);
    else
        scan_part(job, 0, 1);
}

/* s[t] = a[t] * s[t - 1] + b[t], where s[-1] is first. */
void scan(const scan_sizes *n, const real *a, const real *b, const real *first, real *s,
          const team *with)
{
    const scan_job job = {n, a, b, first, NULL, s, NULL, with};
    scan_run(&job);
}

/* by_b[t] = g[t] + a[t + 1] * by_b[t + 1] and by_a[t] = by_b[t] * s[t - 1]; the sizes of b are g's. */
void scan_back(const scan_sizes *n, const real *a, const real *g, const real *first, const real *s,
               real *by_a, real *by_b, const team *with)
{
    const scan_job job = {n, a, g, first, s, by_b, by_a, with};
    scan_run(&job);
}
