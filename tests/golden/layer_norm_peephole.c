/* LayerNormPeephole, made from its equations:
   d_i    = W_i @ x + U_i @ h + p_i * c
   d_f    = W_f @ x + U_f @ h + p_f * c
   d_g    = W_g @ x + U_g @ h
   m_i    = d_i - mean(d_i)
   m_f    = d_f - mean(d_f)
   m_g    = d_g - mean(d_g)
   i      = sigmoid(s_i * m_i / sqrt(mean(square(m_i)) + tiny) + b_i)
   f      = sigmoid(s_f * m_f / sqrt(mean(square(m_f)) + tiny) + b_f)
   g      = tanh(s_g * m_g / sqrt(mean(square(m_g)) + tiny) + b_g)
   c_next = f * c + i * g
   m_c    = c_next - mean(c_next)
   h_next = i * tanh(s_c * m_c / sqrt(mean(square(m_c)) + tiny) + b_c) */

INLINE vec op_sigmoid(vec a) { return 1 / (1 + vec_exp(-a)); }
INLINE vec op_tanh(vec a) { return vec_tanh(a); }
INLINE vec op_sqrt(vec a) { return vec_sqrt(a); }
INLINE vec op_square(vec a) { return a * a; }
INLINE vec op_mean_join(vec y, vec a, long left) { return y + vec_first(a, left, 0); }
INLINE vec op_mean_end(vec y, vec a, long left, real n) { return vec_all(vec_sum(y) / n); }
INLINE vec op_spread(vec a) { return a; }

/* adds products to 3 columns of sums */
static void add_3(vec *sums, const factor *of, long count, int rows)
{
    switch (rows) {
    case 1: add_products(sums, of, count, 1, 3); break;
    case 2: add_products(sums, of, count, 2, 3); break;
    case 3: add_products(sums, of, count, 3, 3); break;
    case 4: add_products(sums, of, count, 4, 3); break;
    case 5: add_products(sums, of, count, 5, 3); break;
    case 6: add_products(sums, of, count, 6, 3); break;
    case 7: add_products(sums, of, count, 7, 3); break;
    case 8: add_products(sums, of, count, 8, 3); break;
    }
}

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
} forward_env;

/* forward, stage 0, values of size H */
static void forward_0(const forward_env *restrict e, long t, long b, long j, long rows)
{
    /* p__0 = W_i @ x + U_i @ h; p__1 = W_f @ x + U_f @ h; d_g = W_g @ x + U_g @ h */
    vec s0[8][3][1];
    for (int r = 0; r < rows; r++) {
        if (e->fused) {
            for (int p = 0; p < 3; p++) for (int q = 0; q < 1; q++) s0[r][p][q] = vec_all(0);
        } else {
            const long row = (t - e->from) * e->B + b + r;
            for (int q = 0; q < 1; q++) s0[r][0][q] = vec_load(e->ready + row * 3 * e->Hp + j + q * LANES);
            for (int q = 0; q < 1; q++) s0[r][1][q] = vec_load(e->ready + row * 3 * e->Hp + e->Hp + j + q * LANES);
            for (int q = 0; q < 1; q++) s0[r][2][q] = vec_load(e->ready + row * 3 * e->Hp + 2 * e->Hp + j + q * LANES);
        }
    }
    const factor of_s0[] = {
        {e->rows_x + t * e->x_step + b * e->x_row, e->w0_0 + j * 3 * e->F, e->x_row, e->fused ? e->F : 0},
        {(t == 0 ? e->first_h : e->seq_h + (t - 1) * e->B * e->Hp) + b * e->Hp, e->w0_1 + j * 3 * e->H, e->Hp, e->H},
    };
    add_3(s0[0][0], of_s0, 2, rows);
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_p__0 = s0[r][0][q];
            const vec v_p__1 = s0[r][1][q];
            /* d_g = W_g @ x + U_g @ h */
            const vec v_d_g = s0[r][2][q];
            const vec v_p_i = vec_load(e->vectors + 4 * e->Hp + u);
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_t__0 = v_p_i * v_c;
            /* d_i = W_i @ x + U_i @ h + p_i * c */
            const vec v_d_i = v_p__0 + v_t__0;
            const vec v_p_f = vec_load(e->vectors + 5 * e->Hp + u);
            const vec v_t__2 = v_p_f * v_c;
            /* d_f = W_f @ x + U_f @ h + p_f * c */
            const vec v_d_f = v_p__1 + v_t__2;
            vec_store(e->scratch + row * 13 * e->Hp + u, v_d_f);
            vec_store(e->scratch + row * 13 * e->Hp + e->Hp + u, v_d_g);
            vec_store(e->scratch + row * 13 * e->Hp + 2 * e->Hp + u, v_d_i);
            if (e->keep) {
                vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (4 * e->Hp + 3 * LANES) + u, v_d_g);
                vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (5 * e->Hp + 5 * LANES) + u, v_p__1);
                vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (6 * e->Hp + 7 * LANES) + u, v_p__0);
            }
            (void)live;
        }
    }
}

/* forward, stage 1, values of size H */
static void forward_1(const forward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_t__4 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_d_i = vec_load(e->scratch + row * 13 * e->Hp + 2 * e->Hp + u);
            v_t__4 = op_mean_join(v_t__4, v_d_i, e->H - u);
        }
        v_t__4 = op_mean_end(v_t__4, v_t__4, 0, e->H);
        vec v_t__6 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_d_f = vec_load(e->scratch + row * 13 * e->Hp + u);
            v_t__6 = op_mean_join(v_t__6, v_d_f, e->H - u);
        }
        v_t__6 = op_mean_end(v_t__6, v_t__6, 0, e->H);
        vec v_t__8 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_d_g = vec_load(e->scratch + row * 13 * e->Hp + e->Hp + u);
            v_t__8 = op_mean_join(v_t__8, v_d_g, e->H - u);
        }
        v_t__8 = op_mean_end(v_t__8, v_t__8, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_d_i = vec_load(e->scratch + row * 13 * e->Hp + 2 * e->Hp + u);
            /* m_i = d_i - mean(d_i) */
            const vec v_m_i = v_d_i - v_t__4;
            const vec v_d_f = vec_load(e->scratch + row * 13 * e->Hp + u);
            /* m_f = d_f - mean(d_f) */
            const vec v_m_f = v_d_f - v_t__6;
            const vec v_d_g = vec_load(e->scratch + row * 13 * e->Hp + e->Hp + u);
            /* m_g = d_g - mean(d_g) */
            const vec v_m_g = v_d_g - v_t__8;
            const vec v_s_i = vec_load(e->vectors + 6 * e->Hp + u);
            const vec v_t__10 = v_s_i * v_m_i;
            const vec v_t__11 = op_square(v_m_i);
            const vec v_s_f = vec_load(e->vectors + 7 * e->Hp + u);
            const vec v_t__18 = v_s_f * v_m_f;
            const vec v_t__19 = op_square(v_m_f);
            const vec v_s_g = vec_load(e->vectors + 8 * e->Hp + u);
            const vec v_t__26 = v_s_g * v_m_g;
            const vec v_t__27 = op_square(v_m_g);
            vec_store(e->scratch + row * 13 * e->Hp + 3 * e->Hp + u, v_t__10);
            vec_store(e->scratch + row * 13 * e->Hp + 4 * e->Hp + u, v_t__11);
            vec_store(e->scratch + row * 13 * e->Hp + 5 * e->Hp + u, v_t__18);
            vec_store(e->scratch + row * 13 * e->Hp + 6 * e->Hp + u, v_t__19);
            vec_store(e->scratch + row * 13 * e->Hp + 7 * e->Hp + u, v_t__26);
            vec_store(e->scratch + row * 13 * e->Hp + 8 * e->Hp + u, v_t__27);
            if (e->keep) {
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (5 * e->Hp + 3 * LANES), v_t__8);
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (6 * e->Hp + 5 * LANES), v_t__6);
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (7 * e->Hp + 7 * LANES), v_t__4);
            }
            (void)live;
        }
    }
}

/* forward, stage 2, values of size H */
static void forward_2(const forward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_t__12 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_t__11 = vec_load(e->scratch + row * 13 * e->Hp + 4 * e->Hp + u);
            v_t__12 = op_mean_join(v_t__12, v_t__11, e->H - u);
        }
        v_t__12 = op_mean_end(v_t__12, v_t__12, 0, e->H);
        vec v_t__20 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_t__19 = vec_load(e->scratch + row * 13 * e->Hp + 6 * e->Hp + u);
            v_t__20 = op_mean_join(v_t__20, v_t__19, e->H - u);
        }
        v_t__20 = op_mean_end(v_t__20, v_t__20, 0, e->H);
        vec v_t__28 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_t__27 = vec_load(e->scratch + row * 13 * e->Hp + 8 * e->Hp + u);
            v_t__28 = op_mean_join(v_t__28, v_t__27, e->H - u);
        }
        v_t__28 = op_mean_end(v_t__28, v_t__28, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_t__13 = v_t__12 + (real)1e-05;
            const vec v_t__14 = op_sqrt(v_t__13);
            const vec v_t__10 = vec_load(e->scratch + row * 13 * e->Hp + 3 * e->Hp + u);
            const vec v_t__15 = v_t__10 / v_t__14;
            const vec v_b_i = vec_load(e->vectors + u);
            const vec v_t__16 = v_t__15 + v_b_i;
            /* i = sigmoid(s_i * m_i / sqrt(mean(square(m_i)) + tiny) + b_i) */
            const vec v_i = op_sigmoid(v_t__16);
            const vec v_t__21 = v_t__20 + (real)1e-05;
            const vec v_t__22 = op_sqrt(v_t__21);
            const vec v_t__18 = vec_load(e->scratch + row * 13 * e->Hp + 5 * e->Hp + u);
            const vec v_t__23 = v_t__18 / v_t__22;
            const vec v_b_f = vec_load(e->vectors + e->Hp + u);
            const vec v_t__24 = v_t__23 + v_b_f;
            /* f = sigmoid(s_f * m_f / sqrt(mean(square(m_f)) + tiny) + b_f) */
            const vec v_f = op_sigmoid(v_t__24);
            const vec v_t__29 = v_t__28 + (real)1e-05;
            const vec v_t__30 = op_sqrt(v_t__29);
            const vec v_t__26 = vec_load(e->scratch + row * 13 * e->Hp + 7 * e->Hp + u);
            const vec v_t__31 = v_t__26 / v_t__30;
            const vec v_b_g = vec_load(e->vectors + 2 * e->Hp + u);
            const vec v_t__32 = v_t__31 + v_b_g;
            /* g = tanh(s_g * m_g / sqrt(mean(square(m_g)) + tiny) + b_g) */
            const vec v_g = op_tanh(v_t__32);
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_t__34 = v_f * v_c;
            const vec v_t__35 = v_i * v_g;
            /* c_next = f * c + i * g */
            const vec v_c_next = v_t__34 + v_t__35;
            vec_store(e->scratch + row * 13 * e->Hp + 9 * e->Hp + u, v_c_next);
            vec_store(e->scratch + row * 13 * e->Hp + 10 * e->Hp + u, v_i);
            vec_store(e->seq_c + ((t) % e->ring) * e->B * e->Hp + row * e->Hp + u, live ? v_c_next : v_c);
            if (e->keep) {
                vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + e->Hp + u, v_i);
                vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (2 * e->Hp + 2 * LANES) + u, v_g);
                vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (3 * e->Hp + 2 * LANES) + u, v_f);
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (4 * e->Hp + 2 * LANES), v_t__30);
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (5 * e->Hp + 4 * LANES), v_t__22);
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (6 * e->Hp + 6 * LANES), v_t__14);
            }
            (void)live;
        }
    }
}

/* forward, stage 3, values of size H */
static void forward_3(const forward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_t__37 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_c_next = vec_load(e->scratch + row * 13 * e->Hp + 9 * e->Hp + u);
            v_t__37 = op_mean_join(v_t__37, v_c_next, e->H - u);
        }
        v_t__37 = op_mean_end(v_t__37, v_t__37, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_c_next = vec_load(e->scratch + row * 13 * e->Hp + 9 * e->Hp + u);
            /* m_c = c_next - mean(c_next) */
            const vec v_m_c = v_c_next - v_t__37;
            const vec v_s_c = vec_load(e->vectors + 9 * e->Hp + u);
            const vec v_t__39 = v_s_c * v_m_c;
            const vec v_t__40 = op_square(v_m_c);
            vec_store(e->scratch + row * 13 * e->Hp + 11 * e->Hp + u, v_t__39);
            vec_store(e->scratch + row * 13 * e->Hp + 12 * e->Hp + u, v_t__40);
            if (e->keep) {
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (2 * e->Hp + LANES), v_t__37);
            }
            (void)live;
        }
    }
}

/* forward, stage 4, values of size H */
static void forward_4(const forward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_t__41 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_t__40 = vec_load(e->scratch + row * 13 * e->Hp + 12 * e->Hp + u);
            v_t__41 = op_mean_join(v_t__41, v_t__40, e->H - u);
        }
        v_t__41 = op_mean_end(v_t__41, v_t__41, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_t__42 = v_t__41 + (real)1e-05;
            const vec v_t__43 = op_sqrt(v_t__42);
            const vec v_t__39 = vec_load(e->scratch + row * 13 * e->Hp + 11 * e->Hp + u);
            const vec v_t__44 = v_t__39 / v_t__43;
            const vec v_b_c = vec_load(e->vectors + 3 * e->Hp + u);
            const vec v_t__45 = v_t__44 + v_b_c;
            const vec v_t__46 = op_tanh(v_t__45);
            const vec v_i = vec_load(e->scratch + row * 13 * e->Hp + 10 * e->Hp + u);
            /* h_next = i * tanh(s_c * m_c / sqrt(mean(square(m_c)) + tiny) + b_c) */
            const vec v_h_next = v_i * v_t__46;
            const vec v_h = vec_load((t == 0 ? e->first_h : e->seq_h + (t - 1) * e->B * e->Hp) + row * e->Hp + u);
            vec_store(e->seq_h + (t) * e->B * e->Hp + row * e->Hp + u, live ? v_h_next : v_h);
            if (e->keep) {
                vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + u, v_t__46);
                if (u == 0) vec_store(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + 2 * e->Hp, v_t__43);
            }
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
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = next_rows(end - b, 8);
                    forward_0(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
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
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    forward_3(e, t, b, i * 1 * LANES, rows);
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
    real *w0_1;
    real *w0_2;
} backward_env;

/* backward, stage 0, values of size H */
static void backward_0(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_d__h_next = vec_load(((e->T - t) % 2 == 1 ? e->run_h : e->spare_h) + row * e->Hp + u) + vec_load(e->by_seq_h + (t * e->B + row) * e->Hp + u);
            const vec v_t__46 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + u);
            const vec v_g__0 = v_d__h_next * v_t__46;
            const vec v_i = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + e->Hp + u);
            const vec v_g__1 = v_d__h_next * v_i;
            const vec v_g__2 = v_t__46 * v_t__46;
            const vec v_g__3 = (real)1.0 - v_g__2;
            const vec v_g__4 = v_g__1 * v_g__3;
            const vec v_t__43 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + 2 * e->Hp);
            const vec v_g__5 = (real)1.0 / v_t__43;
            const vec v_g__6 = v_g__4 * v_g__5;
            const vec v_s_c = vec_load(e->vectors + 9 * e->Hp + u);
            const vec v_c_next = vec_load(e->seq_c + t * e->B * e->Hp + row * e->Hp + u);
            const vec v_t__37 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (2 * e->Hp + LANES));
            /* m_c = c_next - mean(c_next) */
            const vec v_m_c = v_c_next - v_t__37;
            const vec v_t__39 = v_s_c * v_m_c;
            const vec v_t__44 = v_t__39 / v_t__43;
            const vec v_g__7 = -v_t__44;
            const vec v_g__8 = v_g__7 / v_t__43;
            const vec v_g__9 = v_g__4 * v_g__8;
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + u, v_g__9);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (e->Hp + LANES) + u, v_g__6);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (4 * e->Hp + LANES) + u, v_g__0);
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 6 * e->Hp + u, live ? v_g__4 : vec_all(0));
            (void)live;
        }
    }
}

/* backward, stage 1, values of size H */
static void backward_1(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_g__10 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g__9 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + u);
            v_g__10 = op_mean_join(v_g__10, v_g__9, e->H - u);
        }
        v_g__10 = op_mean_end(v_g__10, v_g__10, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_t__43 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + 2 * e->Hp);
            const vec v_g__11 = (real)0.5 / v_t__43;
            const vec v_g__12 = v_g__10 * v_g__11;
            if (u == 0) vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + e->Hp, v_g__12);
            (void)live;
        }
    }
}

/* backward, stage 2, values of size H */
static void backward_2(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_g__12 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + e->Hp);
            const vec v_g__13 = op_spread(v_g__12);
            const vec v_c_next = vec_load(e->seq_c + t * e->B * e->Hp + row * e->Hp + u);
            const vec v_t__37 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (2 * e->Hp + LANES));
            /* m_c = c_next - mean(c_next) */
            const vec v_m_c = v_c_next - v_t__37;
            const vec v_g__14 = (real)2.0 * v_m_c;
            const vec v_g__15 = v_g__13 * v_g__14;
            const vec v_g__6 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (e->Hp + LANES) + u);
            const vec v_g__16 = v_g__6 * v_m_c;
            const vec v_s_c = vec_load(e->vectors + 9 * e->Hp + u);
            const vec v_g__17 = v_g__6 * v_s_c;
            const vec v_d__m_c = v_g__15 + v_g__17;
            const vec v_g__19 = -v_d__m_c;
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (2 * e->Hp + LANES) + u, v_g__19);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (3 * e->Hp + LANES) + u, v_d__m_c);
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 12 * e->Hp + u, live ? v_g__16 : vec_all(0));
            (void)live;
        }
    }
}

/* backward, stage 3, values of size H */
static void backward_3(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_g__20 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g__19 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (2 * e->Hp + LANES) + u);
            v_g__20 = op_mean_join(v_g__20, v_g__19, e->H - u);
        }
        v_g__20 = op_mean_end(v_g__20, v_g__20, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            if (u == 0) vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (5 * e->Hp + LANES), v_g__20);
            (void)live;
        }
    }
}

/* backward, stage 4, values of size H */
static void backward_4(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_d__c_next = vec_load(((e->T - t) % 2 == 1 ? e->run_c : e->spare_c) + row * e->Hp + u) + (e->by_seq_c ? vec_load(e->by_seq_c + (t * e->B + row) * e->Hp + u) : vec_all(0));
            const vec v_d__m_c = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (3 * e->Hp + LANES) + u);
            const vec v_g__21 = v_d__c_next + v_d__m_c;
            const vec v_g__20 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (5 * e->Hp + LANES));
            const vec v_g__22 = v_g__21 + v_g__20;
            const vec v_g = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (2 * e->Hp + 2 * LANES) + u);
            const vec v_g__23 = v_g__22 * v_g;
            const vec v_i = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + e->Hp + u);
            const vec v_g__24 = v_g__22 * v_i;
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_g__25 = v_g__22 * v_c;
            const vec v_f = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (3 * e->Hp + 2 * LANES) + u);
            const vec v_g__26 = v_g__22 * v_f;
            const vec v_g__27 = v_g * v_g;
            const vec v_g__28 = (real)1.0 - v_g__27;
            const vec v_g__29 = v_g__24 * v_g__28;
            const vec v_t__30 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (4 * e->Hp + 2 * LANES));
            const vec v_g__30 = (real)1.0 / v_t__30;
            const vec v_g__31 = v_g__29 * v_g__30;
            const vec v_s_g = vec_load(e->vectors + 8 * e->Hp + u);
            const vec v_d_g = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (4 * e->Hp + 3 * LANES) + u);
            const vec v_t__8 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (5 * e->Hp + 3 * LANES));
            /* m_g = d_g - mean(d_g) */
            const vec v_m_g = v_d_g - v_t__8;
            const vec v_t__26 = v_s_g * v_m_g;
            const vec v_t__31 = v_t__26 / v_t__30;
            const vec v_g__32 = -v_t__31;
            const vec v_g__33 = v_g__32 / v_t__30;
            const vec v_g__34 = v_g__29 * v_g__33;
            const vec v_g__38 = (real)1.0 - v_f;
            const vec v_g__39 = v_f * v_g__38;
            const vec v_g__40 = v_g__25 * v_g__39;
            const vec v_t__22 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (5 * e->Hp + 4 * LANES));
            const vec v_g__41 = (real)1.0 / v_t__22;
            const vec v_g__42 = v_g__40 * v_g__41;
            const vec v_s_f = vec_load(e->vectors + 7 * e->Hp + u);
            const vec v_p__1 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (5 * e->Hp + 5 * LANES) + u);
            const vec v_p_f = vec_load(e->vectors + 5 * e->Hp + u);
            const vec v_t__2 = v_p_f * v_c;
            /* d_f = W_f @ x + U_f @ h + p_f * c */
            const vec v_d_f = v_p__1 + v_t__2;
            const vec v_t__6 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (6 * e->Hp + 5 * LANES));
            /* m_f = d_f - mean(d_f) */
            const vec v_m_f = v_d_f - v_t__6;
            const vec v_t__18 = v_s_f * v_m_f;
            const vec v_t__23 = v_t__18 / v_t__22;
            const vec v_g__43 = -v_t__23;
            const vec v_g__44 = v_g__43 / v_t__22;
            const vec v_g__45 = v_g__40 * v_g__44;
            const vec v_g__0 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (4 * e->Hp + LANES) + u);
            const vec v_d__i = v_g__0 + v_g__23;
            const vec v_g__50 = (real)1.0 - v_i;
            const vec v_g__51 = v_i * v_g__50;
            const vec v_g__52 = v_d__i * v_g__51;
            const vec v_t__14 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (6 * e->Hp + 6 * LANES));
            const vec v_g__53 = (real)1.0 / v_t__14;
            const vec v_g__54 = v_g__52 * v_g__53;
            const vec v_s_i = vec_load(e->vectors + 6 * e->Hp + u);
            const vec v_p__0 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (6 * e->Hp + 7 * LANES) + u);
            const vec v_p_i = vec_load(e->vectors + 4 * e->Hp + u);
            const vec v_t__0 = v_p_i * v_c;
            /* d_i = W_i @ x + U_i @ h + p_i * c */
            const vec v_d_i = v_p__0 + v_t__0;
            const vec v_t__4 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (7 * e->Hp + 7 * LANES));
            /* m_i = d_i - mean(d_i) */
            const vec v_m_i = v_d_i - v_t__4;
            const vec v_t__10 = v_s_i * v_m_i;
            const vec v_t__15 = v_t__10 / v_t__14;
            const vec v_g__55 = -v_t__15;
            const vec v_g__56 = v_g__55 / v_t__14;
            const vec v_g__57 = v_g__52 * v_g__56;
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (5 * e->Hp + 2 * LANES) + u, v_g__34);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (6 * e->Hp + 2 * LANES) + u, v_g__45);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (7 * e->Hp + 2 * LANES) + u, v_g__57);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (8 * e->Hp + 2 * LANES) + u, v_g__31);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (9 * e->Hp + 3 * LANES) + u, v_g__42);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (10 * e->Hp + 4 * LANES) + u, v_g__54);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (20 * e->Hp + 8 * LANES) + u, v_g__26);
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 3 * e->Hp + u, live ? v_g__52 : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 4 * e->Hp + u, live ? v_g__40 : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 5 * e->Hp + u, live ? v_g__29 : vec_all(0));
            (void)live;
        }
    }
}

/* backward, stage 5, values of size H */
static void backward_5(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_g__35 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g__34 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (5 * e->Hp + 2 * LANES) + u);
            v_g__35 = op_mean_join(v_g__35, v_g__34, e->H - u);
        }
        v_g__35 = op_mean_end(v_g__35, v_g__35, 0, e->H);
        vec v_g__46 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g__45 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (6 * e->Hp + 2 * LANES) + u);
            v_g__46 = op_mean_join(v_g__46, v_g__45, e->H - u);
        }
        v_g__46 = op_mean_end(v_g__46, v_g__46, 0, e->H);
        vec v_g__58 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g__57 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (7 * e->Hp + 2 * LANES) + u);
            v_g__58 = op_mean_join(v_g__58, v_g__57, e->H - u);
        }
        v_g__58 = op_mean_end(v_g__58, v_g__58, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_t__30 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (4 * e->Hp + 2 * LANES));
            const vec v_g__36 = (real)0.5 / v_t__30;
            const vec v_g__37 = v_g__35 * v_g__36;
            const vec v_t__22 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (5 * e->Hp + 4 * LANES));
            const vec v_g__47 = (real)0.5 / v_t__22;
            const vec v_g__48 = v_g__46 * v_g__47;
            const vec v_t__14 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (6 * e->Hp + 6 * LANES));
            const vec v_g__59 = (real)0.5 / v_t__14;
            const vec v_g__60 = v_g__58 * v_g__59;
            if (u == 0) vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (9 * e->Hp + 2 * LANES), v_g__37);
            if (u == 0) vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (10 * e->Hp + 3 * LANES), v_g__48);
            if (u == 0) vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (11 * e->Hp + 4 * LANES), v_g__60);
            (void)live;
        }
    }
}

/* backward, stage 6, values of size H */
static void backward_6(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_g__37 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (9 * e->Hp + 2 * LANES));
            const vec v_g__61 = op_spread(v_g__37);
            const vec v_d_g = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (4 * e->Hp + 3 * LANES) + u);
            const vec v_t__8 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (5 * e->Hp + 3 * LANES));
            /* m_g = d_g - mean(d_g) */
            const vec v_m_g = v_d_g - v_t__8;
            const vec v_g__62 = (real)2.0 * v_m_g;
            const vec v_g__63 = v_g__61 * v_g__62;
            const vec v_g__31 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (8 * e->Hp + 2 * LANES) + u);
            const vec v_g__64 = v_g__31 * v_m_g;
            const vec v_s_g = vec_load(e->vectors + 8 * e->Hp + u);
            const vec v_g__65 = v_g__31 * v_s_g;
            const vec v_g__48 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (10 * e->Hp + 3 * LANES));
            const vec v_g__66 = op_spread(v_g__48);
            const vec v_p__1 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (5 * e->Hp + 5 * LANES) + u);
            const vec v_p_f = vec_load(e->vectors + 5 * e->Hp + u);
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_t__2 = v_p_f * v_c;
            /* d_f = W_f @ x + U_f @ h + p_f * c */
            const vec v_d_f = v_p__1 + v_t__2;
            const vec v_t__6 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (6 * e->Hp + 5 * LANES));
            /* m_f = d_f - mean(d_f) */
            const vec v_m_f = v_d_f - v_t__6;
            const vec v_g__67 = (real)2.0 * v_m_f;
            const vec v_g__68 = v_g__66 * v_g__67;
            const vec v_g__42 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (9 * e->Hp + 3 * LANES) + u);
            const vec v_g__69 = v_g__42 * v_m_f;
            const vec v_s_f = vec_load(e->vectors + 7 * e->Hp + u);
            const vec v_g__70 = v_g__42 * v_s_f;
            const vec v_g__60 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (11 * e->Hp + 4 * LANES));
            const vec v_g__71 = op_spread(v_g__60);
            const vec v_p__0 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (6 * e->Hp + 7 * LANES) + u);
            const vec v_p_i = vec_load(e->vectors + 4 * e->Hp + u);
            const vec v_t__0 = v_p_i * v_c;
            /* d_i = W_i @ x + U_i @ h + p_i * c */
            const vec v_d_i = v_p__0 + v_t__0;
            const vec v_t__4 = vec_load(e->saved + (t * e->B + row) * (7 * e->Hp + 8 * LANES) + (7 * e->Hp + 7 * LANES));
            /* m_i = d_i - mean(d_i) */
            const vec v_m_i = v_d_i - v_t__4;
            const vec v_g__72 = (real)2.0 * v_m_i;
            const vec v_g__73 = v_g__71 * v_g__72;
            const vec v_g__54 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (10 * e->Hp + 4 * LANES) + u);
            const vec v_g__74 = v_g__54 * v_m_i;
            const vec v_s_i = vec_load(e->vectors + 6 * e->Hp + u);
            const vec v_g__75 = v_g__54 * v_s_i;
            const vec v_d__m_g = v_g__63 + v_g__65;
            const vec v_g__77 = -v_d__m_g;
            const vec v_d__m_f = v_g__68 + v_g__70;
            const vec v_g__80 = -v_d__m_f;
            const vec v_d__m_i = v_g__73 + v_g__75;
            const vec v_g__83 = -v_d__m_i;
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (11 * e->Hp + 5 * LANES) + u, v_g__77);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (12 * e->Hp + 5 * LANES) + u, v_g__80);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (13 * e->Hp + 5 * LANES) + u, v_g__83);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (14 * e->Hp + 5 * LANES) + u, v_d__m_f);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (15 * e->Hp + 5 * LANES) + u, v_d__m_g);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (16 * e->Hp + 5 * LANES) + u, v_d__m_i);
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 9 * e->Hp + u, live ? v_g__74 : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 10 * e->Hp + u, live ? v_g__69 : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 11 * e->Hp + u, live ? v_g__64 : vec_all(0));
            (void)live;
        }
    }
}

/* backward, stage 7, values of size H */
static void backward_7(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        vec v_g__78 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g__77 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (11 * e->Hp + 5 * LANES) + u);
            v_g__78 = op_mean_join(v_g__78, v_g__77, e->H - u);
        }
        v_g__78 = op_mean_end(v_g__78, v_g__78, 0, e->H);
        vec v_g__81 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g__80 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (12 * e->Hp + 5 * LANES) + u);
            v_g__81 = op_mean_join(v_g__81, v_g__80, e->H - u);
        }
        v_g__81 = op_mean_end(v_g__81, v_g__81, 0, e->H);
        vec v_g__84 = vec_all(0);
        for (long u = 0; u < e->Hp; u += LANES) {
            const vec v_g__83 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (13 * e->Hp + 5 * LANES) + u);
            v_g__84 = op_mean_join(v_g__84, v_g__83, e->H - u);
        }
        v_g__84 = op_mean_end(v_g__84, v_g__84, 0, e->H);
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            if (u == 0) vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (17 * e->Hp + 5 * LANES), v_g__78);
            if (u == 0) vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (17 * e->Hp + 6 * LANES), v_g__81);
            if (u == 0) vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (17 * e->Hp + 7 * LANES), v_g__84);
            (void)live;
        }
    }
}

/* backward, stage 8, values of size H */
static void backward_8(const backward_env *restrict e, long t, long b, long j, long rows)
{
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_d__m_f = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (14 * e->Hp + 5 * LANES) + u);
            const vec v_g__81 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (17 * e->Hp + 6 * LANES));
            const vec v_d__d_f = v_d__m_f + v_g__81;
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_g__86 = v_d__d_f * v_c;
            const vec v_p_f = vec_load(e->vectors + 5 * e->Hp + u);
            const vec v_g__87 = v_d__d_f * v_p_f;
            const vec v_d__m_i = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (16 * e->Hp + 5 * LANES) + u);
            const vec v_g__84 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (17 * e->Hp + 7 * LANES));
            const vec v_d__d_i = v_d__m_i + v_g__84;
            const vec v_g__89 = v_d__d_i * v_c;
            const vec v_p_i = vec_load(e->vectors + 4 * e->Hp + u);
            const vec v_g__90 = v_d__d_i * v_p_i;
            const vec v_d__m_g = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (15 * e->Hp + 5 * LANES) + u);
            const vec v_g__78 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (17 * e->Hp + 5 * LANES));
            const vec v_d__d_g = v_d__m_g + v_g__78;
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (17 * e->Hp + 8 * LANES) + u, v_d__d_f);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (18 * e->Hp + 8 * LANES) + u, v_d__d_g);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (19 * e->Hp + 8 * LANES) + u, v_d__d_i);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (21 * e->Hp + 8 * LANES) + u, v_g__87);
            vec_store(e->scratch + row * (23 * e->Hp + 8 * LANES) + (22 * e->Hp + 8 * LANES) + u, v_g__90);
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + u, live ? v_d__d_i : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + e->Hp + u, live ? v_d__d_f : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 2 * e->Hp + u, live ? v_d__d_g : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 7 * e->Hp + u, live ? v_g__89 : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 13 * e->Hp + 8 * e->Hp + u, live ? v_g__86 : vec_all(0));
            (void)live;
        }
    }
}

/* backward, stage 9, values of size H */
static void backward_9(const backward_env *restrict e, long t, long b, long j, long rows)
{
    /* back__h = U_i.T @ d__d_i + U_f.T @ d__d_f + U_g.T @ d__d_g */
    vec s0[6][1][4];
    for (int r = 0; r < rows; r++) {
        for (int p = 0; p < 1; p++) for (int q = 0; q < 4; q++) s0[r][p][q] = vec_all(0);
    }
    const factor of_s0[] = {
        {(e->scratch + (19 * e->Hp + 8 * LANES)) + b * (23 * e->Hp + 8 * LANES), e->w0_0 + j * 1 * e->H, (23 * e->Hp + 8 * LANES), e->H},
        {(e->scratch + (17 * e->Hp + 8 * LANES)) + b * (23 * e->Hp + 8 * LANES), e->w0_1 + j * 1 * e->H, (23 * e->Hp + 8 * LANES), e->H},
        {(e->scratch + (18 * e->Hp + 8 * LANES)) + b * (23 * e->Hp + 8 * LANES), e->w0_2 + j * 1 * e->H, (23 * e->Hp + 8 * LANES), e->H},
    };
    add_4(s0[0][0], of_s0, 3, rows);
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 4; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_back__h = s0[r][0][q];
            const vec v_g__26 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (20 * e->Hp + 8 * LANES) + u);
            const vec v_g__87 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (21 * e->Hp + 8 * LANES) + u);
            const vec v_g__92 = v_g__26 + v_g__87;
            const vec v_g__90 = vec_load(e->scratch + row * (23 * e->Hp + 8 * LANES) + (22 * e->Hp + 8 * LANES) + u);
            const vec v_d__c = v_g__92 + v_g__90;
            const vec v_d__h_next = vec_load(((e->T - t) % 2 == 1 ? e->run_h : e->spare_h) + row * e->Hp + u) + vec_load(e->by_seq_h + (t * e->B + row) * e->Hp + u);
            const vec v_d__c_next = vec_load(((e->T - t) % 2 == 1 ? e->run_c : e->spare_c) + row * e->Hp + u) + (e->by_seq_c ? vec_load(e->by_seq_c + (t * e->B + row) * e->Hp + u) : vec_all(0));
            vec_store(((e->T - t) % 2 == 0 ? e->run_h : e->spare_h) + row * e->Hp + u, live ? v_back__h : v_d__h_next);
            vec_store(((e->T - t) % 2 == 0 ? e->run_c : e->spare_c) + row * e->Hp + u, live ? v_d__c : v_d__c_next);
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
            const long n = blocks(e->Hp, 1 * LANES);
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
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_2(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_3(e, t, b, i * 1 * LANES, rows);
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
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_6(e, t, b, i * 1 * LANES, rows);
                }
            if (e->C > 1) meet(place, e->C);
        }
        {
            const long n = blocks(e->Hp, 1 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = end - b;
                    backward_7(e, t, b, i * 1 * LANES, rows);
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
            const long n = blocks(e->Hp, 4 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = next_rows(end - b, 6);
                    backward_9(e, t, b, i * 4 * LANES, rows);
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
