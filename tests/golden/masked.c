/* Masked, made from its equations:
   g      = tanh(W @ (x * seen - mean(x)) + U @ (h * keep) + b)
   k      = mean(g) * sigmoid(mean(c))
   new    = 0.5 * c + g * drop + k
   c_next = late * c + (1 - late) * new
   h_next = V @ c_next + 0.5 * h * tanh(mean(h)) */

INLINE vec op_sigmoid(vec a) { return 1 / (1 + vec_exp(-a)); }
INLINE vec op_tanh(vec a) { return vec_tanh(a); }
INLINE vec op_mean_join(vec y, vec a, long left) { return y + vec_first(a, left, 0); }
INLINE vec op_mean_end(vec y, vec a, long left, real n) { return vec_all(vec_sum(y) / n); }

/* adds products to 4 columns of sums */
static void add_4(vec *sums, const factor *of, long count, int rows)
{
    switch (rows) {
    case 1: add_products(sums, of, count, 1, 4); break;
    case 2: add_products(sums, of, count, 2, 4); break;
    case 3: add_products(sums, of, count, 3, 4); break;
    case 4: add_products(sums, of, count, 4, 4); break;
    case 5: add_products(sums, of, count, 5, 4); break;
    case 6: add_products(sums, of, count, 6, 4); break;
    }
}

typedef struct {
    long T, B, F, H, P, Fp, Hp, Pp, ring, keep, fused, from, to, x_step, x_row, mask_step, mask_row, mask_once, R, C;
    const int64_t *lengths;
    real *x;
    real *vectors;
    real *masks_step;
    real *masks_sequence;
    real *saved;
    real *scratch;
    int *meeting;
    uint16_t *factors;
    real *rows_x;
    real *ready;
    real *first_h;
    real *seq_h;
    real *first_c;
    real *seq_c;
    real *w0_0;
    real *w0_1;
    real *w1_0;
} forward_env;

/* forward, stage 0, values of size F */
static void forward_0(const forward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_t__1 = vec_all(0);
        for (long u = 0; u < e->Fp; u += LANES) {
            const vec v_x = vec_load(e->x + (t * e->B + row) * e->Fp + u);
            v_t__1 = op_mean_join(v_t__1, v_x, e->F - u);
        }
        v_t__1 = op_mean_end(v_t__1, v_t__1, 0, e->F);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Fp) break;
            const vec v_x = vec_load(e->x + (t * e->B + row) * e->Fp + u);
            const vec v_seen = vec_load(e->masks_sequence + row * e->mask_once + e->Pp + u);
            const vec v_t__0 = v_x * v_seen;
            const vec v_t__2 = v_t__0 - v_t__1;
            vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + e->Hp + u, v_t__2);
            if (e->keep) {
                vec_store(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + u, v_t__2);
            }
            (void)live;
        }
    }
}

/* forward, stage 0, values of size P */
static void forward_1(const forward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_t__19 = vec_all(0);
        for (long u = 0; u < e->Pp; u += LANES) {
            const vec v_h = vec_load((t == 0 ? e->first_h : e->seq_h + (t - 1) * e->B * e->Pp) + row * e->Pp + u);
            v_t__19 = op_mean_join(v_t__19, v_h, e->P - u);
        }
        v_t__19 = op_mean_end(v_t__19, v_t__19, 0, e->P);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Pp) break;
            const vec v_h = vec_load((t == 0 ? e->first_h : e->seq_h + (t - 1) * e->B * e->Pp) + row * e->Pp + u);
            const vec v_keep = vec_load(e->masks_sequence + row * e->mask_once + u);
            const vec v_t__3 = v_h * v_keep;
            const vec v_t__18 = (real)0.5 * v_h;
            const vec v_t__20 = op_tanh(v_t__19);
            const vec v_t__21 = v_t__18 * v_t__20;
            vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (e->Hp + e->Fp) + u, v_t__3);
            vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (6 * e->Hp + e->Fp + e->Pp + LANES) + u, v_t__21);
            if (e->keep) {
                vec_store(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + e->Fp + u, v_t__3);
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + (e->Fp + e->Pp + 2 * LANES + e->Hp), v_t__20);
            }
            (void)live;
        }
    }
}

/* forward, stage 0, values of size H */
static void forward_2(const forward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_t__7 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            v_t__7 = op_mean_join(v_t__7, v_c, e->H - u);
        }
        v_t__7 = op_mean_end(v_t__7, v_t__7, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_t__8 = op_sigmoid(v_t__7);
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_t__10 = (real)0.5 * v_c;
            const vec v_late = vec_load(e->masks_step + t * e->mask_step + row * e->mask_row + e->Hp + u);
            const vec v_t__14 = v_late * v_c;
            const vec v_t__15 = (real)1.0 - v_late;
            vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + u, v_t__10);
            vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (3 * e->Hp + e->Fp + e->Pp) + u, v_t__14);
            vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (4 * e->Hp + e->Fp + e->Pp) + u, v_t__15);
            if (u == 0) vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (5 * e->Hp + e->Fp + e->Pp), v_t__8);
            if (e->keep) {
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + (e->Fp + e->Pp), v_t__8);
            }
            (void)live;
        }
    }
}

/* forward, stage 1, values of size H */
static void forward_3(const forward_env *restrict e, long t, long b, long j, long rows)
{
    /* p__0 = W @ t__2 + U @ t__3 */
    vec s0[6][1][4];
    for (int r = 0; r < rows; r++) {
        for (int p = 0; p < 1; p++) for (int q = 0; q < 4; q++) s0[r][p][q] = vec_all(0);
    }
    const factor of_s0[] = {
        {(e->scratch + e->Hp) + b * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES), e->w0_0 + j * 1 * e->F, (6 * e->Hp + e->Fp + 2 * e->Pp + LANES), e->F},
        {(e->scratch + (e->Hp + e->Fp)) + b * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES), e->w0_1 + j * 1 * e->P, (6 * e->Hp + e->Fp + 2 * e->Pp + LANES), e->P},
    };
    add_4(s0[0][0], of_s0, 2, rows);
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 4; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_p__0 = s0[r][0][q];
            const vec v_b = vec_load(e->vectors + u);
            const vec v_t__4 = v_p__0 + v_b;
            /* g = tanh(W @ (x * seen - mean(x)) + U @ (h * keep) + b) */
            const vec v_g = op_tanh(v_t__4);
            const vec v_drop = vec_load(e->masks_step + t * e->mask_step + row * e->mask_row + u);
            const vec v_t__11 = v_g * v_drop;
            const vec v_t__10 = vec_load(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + u);
            const vec v_t__12 = v_t__10 + v_t__11;
            vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (e->Hp + e->Fp + e->Pp) + u, v_g);
            vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (2 * e->Hp + e->Fp + e->Pp) + u, v_t__12);
            if (e->keep) {
                vec_store(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + (e->Fp + e->Pp + 2 * LANES) + u, v_g);
            }
            (void)live;
        }
    }
}

/* forward, stage 2, values of size H */
static void forward_4(const forward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_t__6 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g = vec_load(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (e->Hp + e->Fp + e->Pp) + u);
            v_t__6 = op_mean_join(v_t__6, v_g, e->H - u);
        }
        v_t__6 = op_mean_end(v_t__6, v_t__6, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_t__8 = vec_load(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (5 * e->Hp + e->Fp + e->Pp));
            /* k = mean(g) * sigmoid(mean(c)) */
            const vec v_k = v_t__6 * v_t__8;
            const vec v_t__12 = vec_load(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (2 * e->Hp + e->Fp + e->Pp) + u);
            /* new = 0.5 * c + g * drop + k */
            const vec v_new = v_t__12 + v_k;
            const vec v_t__15 = vec_load(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (4 * e->Hp + e->Fp + e->Pp) + u);
            const vec v_t__16 = v_t__15 * v_new;
            const vec v_t__14 = vec_load(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (3 * e->Hp + e->Fp + e->Pp) + u);
            /* c_next = late * c + (1 - late) * new */
            const vec v_c_next = v_t__14 + v_t__16;
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            vec_store(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (5 * e->Hp + e->Fp + e->Pp + LANES) + u, v_c_next);
            vec_store(e->seq_c + ((t) % e->ring) * e->B * e->Hp + row * e->Hp + u, live ? v_c_next : v_c);
            if (e->keep) {
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + (e->Fp + e->Pp + LANES), v_t__6);
            }
            (void)live;
        }
    }
}

/* forward, stage 3, values of size P */
static void forward_5(const forward_env *restrict e, long t, long b, long j, long rows)
{
    /* V__c_next = V @ c_next */
    vec s0[6][1][4];
    for (int r = 0; r < rows; r++) {
        for (int p = 0; p < 1; p++) for (int q = 0; q < 4; q++) s0[r][p][q] = vec_all(0);
    }
    const factor of_s0[] = {
        {(e->scratch + (5 * e->Hp + e->Fp + e->Pp + LANES)) + b * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES), e->w1_0 + j * 1 * e->H, (6 * e->Hp + e->Fp + 2 * e->Pp + LANES), e->H},
    };
    add_4(s0[0][0], of_s0, 1, rows);
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 4; q++) {
            const long u = j + q * LANES;
            if (u >= e->Pp) break;
            const vec v_V__c_next = s0[r][0][q];
            const vec v_t__21 = vec_load(e->scratch + row * (6 * e->Hp + e->Fp + 2 * e->Pp + LANES) + (6 * e->Hp + e->Fp + e->Pp + LANES) + u);
            /* h_next = V @ c_next + 0.5 * h * tanh(mean(h)) */
            const vec v_h_next = v_V__c_next + v_t__21;
            const vec v_h = vec_load((t == 0 ? e->first_h : e->seq_h + (t - 1) * e->B * e->Pp) + row * e->Pp + u);
            vec_store(e->seq_h + (t) * e->B * e->Pp + row * e->Pp + u, live ? v_h_next : v_h);
            (void)live;
        }
    }
}

static void forward_part(forward_env *e, long part)
{
    const long r = part / e->C, c = part % e->C;
    const long begin = e->B * r / e->R, end = e->B * (r + 1) / e->R;
    int *place = e->meeting + 2 * r * (CACHE_LINE / sizeof(int));
    for (long t = e->from; t < e->to; t++) {
        {
            const long n = blocks(e->Fp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    forward_0(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Pp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    forward_1(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    forward_2(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 4 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = next_rows(end - b, 6);
                    forward_3(e, t, b, i * 4 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    forward_4(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Pp, 4 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = next_rows(end - b, 6);
                    forward_5(e, t, b, i * 4 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
    }
}

typedef struct { forward_env *e; long count; const team *with; } forward_job;
static void forward_thread(void *argument)
{
    forward_job *job = argument;
    const long each = job->e->R * job->e->C, threads = job->with->threads();
    const long thread = job->with->thread();
    if (threads >= each * job->count) {
        forward_part(job->e + thread / each, thread % each);
        return;
    }
    /* fewer than were asked for share the rows */
    for (long i = 0; i < job->count; i++) {
        forward_env own = job->e[i];
        own.R = threads, own.C = 1;
        forward_part(&own, thread);
    }
}

/* So many calls at once, which do not need each other and have one shape. */
void forward(long count, long *const *sizes, void *const *const *arrays, const team *with)
{
    forward_env e[count];
    /* numbers and pointers lie in the order of the fields */
    const size_t numbers = offsetof(forward_env, lengths);
    for (long i = 0; i < count; i++) {
        memcpy(e + i, sizes[i], numbers);
        memcpy((char *)(e + i) + numbers, arrays[i], sizeof *e - numbers);
    }
    if (count * e->R * e->C == 1) {
        forward_part(e, 0);
        return;
    }
    forward_job job = {e, count, with};
    with->parallel(forward_thread, &job, count * e->R * e->C, 0);
}

typedef struct {
    long T, B, F, H, P, Fp, Hp, Pp, ring, keep, fused, from, to, x_step, x_row, mask_step, mask_row, mask_once, R, C;
    const int64_t *lengths;
    real *x;
    real *vectors;
    real *masks_step;
    real *masks_sequence;
    real *saved;
    real *scratch;
    int *meeting;
    uint16_t *factors;
    real *gradients;
    real *by_x;
    real *by_seq_h;
    real *by_seq_c;
    real *first_h;
    real *seq_h;
    real *first_c;
    real *seq_c;
    real *run_h;
    real *spare_h;
    real *run_c;
    real *spare_c;
    real *w0_0;
    real *w1_0;
    real *w2_0;
} backward_env;

/* backward, stage 0, values of size P */
static void backward_0(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Pp) break;
            const vec v_d__h_next = vec_load(((e->T - t) % 2 == 1 ? e->run_h : e->spare_h) + row * e->Pp + u) + vec_load(e->by_seq_h + (t * e->B + row) * e->Pp + u);
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + u, v_d__h_next);
            vec_store(e->gradients + ((t - e->from) * e->B + row) * (e->Hp + e->Pp) + e->Hp + u, live ? v_d__h_next : vec_all(0));
            (void)live;
        }
    }
}

/* backward, stage 0, values of size H */
static void backward_1(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            (void)live;
        }
    }
}

/* backward, stage 0, values of size F */
static void backward_2(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Fp) break;
            (void)live;
        }
    }
}

/* backward, stage 1, values of size H */
static void backward_3(const backward_env *restrict e, long t, long b, long j, long rows)
{
    /* back__c_next = V.T @ d__h_next */
    vec s0[6][1][4];
    for (int r = 0; r < rows; r++) {
        for (int p = 0; p < 1; p++) for (int q = 0; q < 4; q++) s0[r][p][q] = vec_all(0);
    }
    const factor of_s0[] = {
        {(e->scratch) + b * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp), e->w0_0 + j * 1 * e->P, (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp), e->P},
    };
    add_4(s0[0][0], of_s0, 1, rows);
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 4; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_back__c_next = s0[r][0][q];
            const vec v_d__c_next = vec_load(((e->T - t) % 2 == 1 ? e->run_c : e->spare_c) + row * e->Hp + u) + (e->by_seq_c ? vec_load(e->by_seq_c + (t * e->B + row) * e->Hp + u) : vec_all(0));
            const vec v_g__0 = v_d__c_next + v_back__c_next;
            const vec v_late = vec_load(e->masks_step + t * e->mask_step + row * e->mask_row + e->Hp + u);
            const vec v_t__15 = (real)1.0 - v_late;
            const vec v_g__2 = v_g__0 * v_t__15;
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + e->Pp + u, v_g__2);
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (e->Pp + 2 * e->Hp + LANES) + u, v_g__0);
            (void)live;
        }
    }
}

/* backward, stage 2, values of size H */
static void backward_4(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_g__3 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g__2 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + e->Pp + u);
            v_g__3 = op_mean_join(v_g__3, v_g__2, e->H - u);
        }
        v_g__3 = op_mean_end(v_g__3, v_g__3, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_t__8 = vec_load(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + (e->Fp + e->Pp));
            const vec v_g__4 = v_g__3 * v_t__8;
            const vec v_t__6 = vec_load(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + (e->Fp + e->Pp + LANES));
            const vec v_g__5 = v_g__3 * v_t__6;
            if (u == 0) vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (e->Pp + e->Hp), v_g__4);
            if (u == 0) vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (e->Pp + 3 * e->Hp + LANES), v_g__5);
            (void)live;
        }
    }
}

/* backward, stage 3, values of size H */
static void backward_5(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_g__2 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + e->Pp + u);
            const vec v_drop = vec_load(e->masks_step + t * e->mask_step + row * e->mask_row + u);
            const vec v_g__6 = v_g__2 * v_drop;
            const vec v_g__4 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (e->Pp + e->Hp));
            const vec v_d__g = v_g__4 + v_g__6;
            const vec v_g = vec_load(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + (e->Fp + e->Pp + 2 * LANES) + u);
            const vec v_g__8 = v_g * v_g;
            const vec v_g__9 = (real)1.0 - v_g__8;
            const vec v_g__10 = v_d__g * v_g__9;
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (e->Pp + e->Hp + LANES) + u, v_g__10);
            vec_store(e->gradients + ((t - e->from) * e->B + row) * (e->Hp + e->Pp) + u, live ? v_g__10 : vec_all(0));
            (void)live;
        }
    }
}

/* backward, stage 4, values of size F */
static void backward_6(const backward_env *restrict e, long t, long b, long j, long rows)
{
    /* back__t__2 = W.T @ g__10 */
    vec s0[6][1][4];
    for (int r = 0; r < rows; r++) {
        for (int p = 0; p < 1; p++) for (int q = 0; q < 4; q++) s0[r][p][q] = vec_all(0);
    }
    const factor of_s0[] = {
        {(e->scratch + (e->Pp + e->Hp + LANES)) + b * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp), e->w1_0 + j * 1 * e->H, (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp), e->H},
    };
    add_4(s0[0][0], of_s0, 1, rows);
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 4; q++) {
            const long u = j + q * LANES;
            if (u >= e->Fp) break;
            const vec v_back__t__2 = s0[r][0][q];
            const vec v_g__24 = -v_back__t__2;
            const vec v_seen = vec_load(e->masks_sequence + row * e->mask_once + e->Pp + u);
            const vec v_g__26 = v_back__t__2 * v_seen;
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (2 * e->Pp + 3 * e->Hp + 3 * LANES) + u, v_g__24);
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 5 * e->Hp + 6 * LANES + e->Fp) + u, v_g__26);
            (void)live;
        }
    }
}

/* backward, stage 4, values of size P */
static void backward_7(const backward_env *restrict e, long t, long b, long j, long rows)
{
    /* back__t__3 = U.T @ g__10 */
    vec s0[6][1][4];
    for (int r = 0; r < rows; r++) {
        for (int p = 0; p < 1; p++) for (int q = 0; q < 4; q++) s0[r][p][q] = vec_all(0);
    }
    const factor of_s0[] = {
        {(e->scratch + (e->Pp + e->Hp + LANES)) + b * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp), e->w2_0 + j * 1 * e->H, (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp), e->H},
    };
    add_4(s0[0][0], of_s0, 1, rows);
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 4; q++) {
            const long u = j + q * LANES;
            if (u >= e->Pp) break;
            const vec v_back__t__3 = s0[r][0][q];
            const vec v_d__h_next = vec_load(((e->T - t) % 2 == 1 ? e->run_h : e->spare_h) + row * e->Pp + u) + vec_load(e->by_seq_h + (t * e->B + row) * e->Pp + u);
            const vec v_t__20 = vec_load(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + (e->Fp + e->Pp + 2 * LANES + e->Hp));
            const vec v_g__11 = v_d__h_next * v_t__20;
            const vec v_h = vec_load((t == 0 ? e->first_h : e->seq_h + (t - 1) * e->B * e->Pp) + row * e->Pp + u);
            const vec v_t__18 = (real)0.5 * v_h;
            const vec v_g__12 = v_d__h_next * v_t__18;
            const vec v_g__14 = v_t__20 * v_t__20;
            const vec v_g__15 = (real)1.0 - v_g__14;
            const vec v_g__17 = v_g__11 * (real)0.5;
            const vec v_keep = vec_load(e->masks_sequence + row * e->mask_once + u);
            const vec v_g__23 = v_back__t__3 * v_keep;
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (e->Pp + 3 * e->Hp + 2 * LANES) + u, v_g__12);
            if (u == 0) vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (2 * e->Pp + 3 * e->Hp + 2 * LANES), v_g__15);
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (2 * e->Pp + 3 * e->Hp + 4 * LANES + e->Fp) + u, v_g__17);
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (3 * e->Pp + 3 * e->Hp + 4 * LANES + e->Fp) + u, v_g__23);
            (void)live;
        }
    }
}

/* backward, stage 4, values of size H */
static void backward_8(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_g__0 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (e->Pp + 2 * e->Hp + LANES) + u);
            const vec v_late = vec_load(e->masks_step + t * e->mask_step + row * e->mask_row + e->Hp + u);
            const vec v_g__18 = v_g__0 * v_late;
            const vec v_g__2 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + e->Pp + u);
            const vec v_g__19 = v_g__2 * (real)0.5;
            const vec v_t__8 = vec_load(e->saved + (t * e->B + row) * (e->Fp + e->Pp + 3 * LANES + e->Hp) + (e->Fp + e->Pp));
            const vec v_g__20 = (real)1.0 - v_t__8;
            const vec v_g__21 = v_t__8 * v_g__20;
            const vec v_g__5 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (e->Pp + 3 * e->Hp + LANES));
            const vec v_g__22 = v_g__5 * v_g__21;
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 3 * e->Hp + 4 * LANES + e->Fp) + u, v_g__18);
            vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 4 * e->Hp + 4 * LANES + e->Fp) + u, v_g__19);
            if (u == 0) vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 5 * e->Hp + 4 * LANES + e->Fp), v_g__22);
            (void)live;
        }
    }
}

/* backward, stage 5, values of size P */
static void backward_9(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_g__13 = vec_all(0);
        for (long u = 0; u < e->Pp; u += LANES) {
            const vec v_g__12 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (e->Pp + 3 * e->Hp + 2 * LANES) + u);
            v_g__13 = op_mean_join(v_g__13, v_g__12, e->P - u);
        }
        v_g__13 = op_mean_end(v_g__13, v_g__13, 0, e->P);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Pp) break;
            const vec v_g__15 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (2 * e->Pp + 3 * e->Hp + 2 * LANES));
            const vec v_g__16 = v_g__13 * v_g__15;
            if (u == 0) vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (2 * e->Pp + 3 * e->Hp + 3 * LANES + e->Fp), v_g__16);
            (void)live;
        }
    }
}

/* backward, stage 5, values of size F */
static void backward_10(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_g__25 = vec_all(0);
        for (long u = 0; u < e->Fp; u += LANES) {
            const vec v_g__24 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (2 * e->Pp + 3 * e->Hp + 3 * LANES) + u);
            v_g__25 = op_mean_join(v_g__25, v_g__24, e->F - u);
        }
        v_g__25 = op_mean_end(v_g__25, v_g__25, 0, e->F);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Fp) break;
            if (u == 0) vec_store(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 5 * e->Hp + 5 * LANES + e->Fp), v_g__25);
            (void)live;
        }
    }
}

/* backward, stage 6, values of size P */
static void backward_11(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Pp) break;
            const vec v_g__16 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (2 * e->Pp + 3 * e->Hp + 3 * LANES + e->Fp));
            const vec v_g__17 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (2 * e->Pp + 3 * e->Hp + 4 * LANES + e->Fp) + u);
            const vec v_g__27 = v_g__16 + v_g__17;
            const vec v_g__23 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (3 * e->Pp + 3 * e->Hp + 4 * LANES + e->Fp) + u);
            const vec v_d__h = v_g__27 + v_g__23;
            const vec v_d__h_next = vec_load(((e->T - t) % 2 == 1 ? e->run_h : e->spare_h) + row * e->Pp + u) + vec_load(e->by_seq_h + (t * e->B + row) * e->Pp + u);
            vec_store(((e->T - t) % 2 == 0 ? e->run_h : e->spare_h) + row * e->Pp + u, live ? v_d__h : v_d__h_next);
            (void)live;
        }
    }
}

/* backward, stage 6, values of size H */
static void backward_12(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_g__18 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 3 * e->Hp + 4 * LANES + e->Fp) + u);
            const vec v_g__19 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 4 * e->Hp + 4 * LANES + e->Fp) + u);
            const vec v_g__29 = v_g__18 + v_g__19;
            const vec v_g__22 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 5 * e->Hp + 4 * LANES + e->Fp));
            const vec v_d__c = v_g__29 + v_g__22;
            const vec v_d__c_next = vec_load(((e->T - t) % 2 == 1 ? e->run_c : e->spare_c) + row * e->Hp + u) + (e->by_seq_c ? vec_load(e->by_seq_c + (t * e->B + row) * e->Hp + u) : vec_all(0));
            vec_store(((e->T - t) % 2 == 0 ? e->run_c : e->spare_c) + row * e->Hp + u, live ? v_d__c : v_d__c_next);
            (void)live;
        }
    }
}

/* backward, stage 6, values of size F */
static void backward_13(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Fp) break;
            const vec v_g__25 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 5 * e->Hp + 5 * LANES + e->Fp));
            const vec v_g__26 = vec_load(e->scratch + row * (4 * e->Pp + 5 * e->Hp + 6 * LANES + 2 * e->Fp) + (4 * e->Pp + 5 * e->Hp + 6 * LANES + e->Fp) + u);
            const vec v_d__x = v_g__25 + v_g__26;
            vec_store(e->by_x + (t * e->B + row) * e->Fp + u, live ? v_d__x : vec_all(0));
            (void)live;
        }
    }
}

static void backward_part(backward_env *e, long part)
{
    const long r = part / e->C, c = part % e->C;
    const long begin = e->B * r / e->R, end = e->B * (r + 1) / e->R;
    int *place = e->meeting + 2 * r * (CACHE_LINE / sizeof(int));
    for (long t = e->to - 1; t >= e->from; t--) {
        {
            const long n = blocks(e->Pp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_0(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_1(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Fp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_2(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 4 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = next_rows(end - b, 6);
                    backward_3(e, t, b, i * 4 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_4(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_5(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Fp, 4 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = next_rows(end - b, 6);
                    backward_6(e, t, b, i * 4 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Pp, 4 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = next_rows(end - b, 6);
                    backward_7(e, t, b, i * 4 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_8(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Pp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_9(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Fp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_10(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Pp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_11(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_12(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Fp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_13(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
    }
}

typedef struct { backward_env *e; long count; const team *with; } backward_job;
static void backward_thread(void *argument)
{
    backward_job *job = argument;
    const long each = job->e->R * job->e->C, threads = job->with->threads();
    const long thread = job->with->thread();
    if (threads >= each * job->count) {
        backward_part(job->e + thread / each, thread % each);
        return;
    }
    /* fewer than were asked for share the rows */
    for (long i = 0; i < job->count; i++) {
        backward_env own = job->e[i];
        own.R = threads, own.C = 1;
        backward_part(&own, thread);
    }
}

/* So many calls at once, which do not need each other and have one shape. */
void backward(long count, long *const *sizes, void *const *const *arrays, const team *with)
{
    backward_env e[count];
    /* numbers and pointers lie in the order of the fields */
    const size_t numbers = offsetof(backward_env, lengths);
    for (long i = 0; i < count; i++) {
        memcpy(e + i, sizes[i], numbers);
        memcpy((char *)(e + i) + numbers, arrays[i], sizeof *e - numbers);
    }
    if (count * e->R * e->C == 1) {
        backward_part(e, 0);
        return;
    }
    backward_job job = {e, count, with};
    with->parallel(backward_thread, &job, count * e->R * e->C, 0);
}
