/* LSTM, made from its equations:
   i      = sigmoid(W_i @ x + U_i @ h + b_i)
   f      = sigmoid(W_f @ x + U_f @ h + b_f)
   g      = tanh(W_g @ x + U_g @ h + b_g)
   o      = sigmoid(W_o @ x + U_o @ h + b_o)
   c_next = f * c + i * g
   h_next = o * tanh(c_next) */

INLINE vec op_sigmoid(vec a) { return 1 / (1 + vec_exp(-a)); }
INLINE vec op_tanh(vec a) { return vec_tanh(a); }

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
    /* p__0 = W_i @ x + U_i @ h; p__1 = W_f @ x + U_f @ h; p__2 = W_g @ x + U_g @ h; p__3 = W_o @ x + U_o @ h */
    vec s0[6][4][1];
    for (int r = 0; r < rows; r++) {
        if (e->fused) {
            for (int p = 0; p < 4; p++) for (int q = 0; q < 1; q++) s0[r][p][q] = vec_all(0);
        } else {
            const long row = (t - e->from) * e->B + b + r;
            for (int q = 0; q < 1; q++) s0[r][0][q] = vec_load(e->ready + row * 4 * e->Hp + j + q * LANES);
            for (int q = 0; q < 1; q++) s0[r][1][q] = vec_load(e->ready + row * 4 * e->Hp + e->Hp + j + q * LANES);
            for (int q = 0; q < 1; q++) s0[r][2][q] = vec_load(e->ready + row * 4 * e->Hp + 2 * e->Hp + j + q * LANES);
            for (int q = 0; q < 1; q++) s0[r][3][q] = vec_load(e->ready + row * 4 * e->Hp + 3 * e->Hp + j + q * LANES);
        }
    }
    const factor of_s0[] = {
        {e->rows_x + t * e->x_step + b * e->x_row, e->w0_0 + j * 4 * e->F, e->x_row, e->fused ? e->F : 0},
        {(t == 0 ? e->first_h : e->seq_h + (t - 1) * e->B * e->Hp) + b * e->Hp, e->w0_1 + j * 4 * e->H, e->Hp, e->H},
    };
    add_4(s0[0][0], of_s0, 2, rows);
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_p__0 = s0[r][0][q];
            const vec v_p__1 = s0[r][1][q];
            const vec v_p__2 = s0[r][2][q];
            const vec v_p__3 = s0[r][3][q];
            const vec v_b_i = vec_load(e->vectors + u);
            const vec v_t__0 = v_p__0 + v_b_i;
            /* i = sigmoid(W_i @ x + U_i @ h + b_i) */
            const vec v_i = op_sigmoid(v_t__0);
            const vec v_b_f = vec_load(e->vectors + e->Hp + u);
            const vec v_t__2 = v_p__1 + v_b_f;
            /* f = sigmoid(W_f @ x + U_f @ h + b_f) */
            const vec v_f = op_sigmoid(v_t__2);
            const vec v_b_g = vec_load(e->vectors + 2 * e->Hp + u);
            const vec v_t__4 = v_p__2 + v_b_g;
            /* g = tanh(W_g @ x + U_g @ h + b_g) */
            const vec v_g = op_tanh(v_t__4);
            const vec v_b_o = vec_load(e->vectors + 3 * e->Hp + u);
            const vec v_t__6 = v_p__3 + v_b_o;
            /* o = sigmoid(W_o @ x + U_o @ h + b_o) */
            const vec v_o = op_sigmoid(v_t__6);
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_t__8 = v_f * v_c;
            const vec v_t__9 = v_i * v_g;
            /* c_next = f * c + i * g */
            const vec v_c_next = v_t__8 + v_t__9;
            const vec v_t__11 = op_tanh(v_c_next);
            /* h_next = o * tanh(c_next) */
            const vec v_h_next = v_o * v_t__11;
            const vec v_h = vec_load((t == 0 ? e->first_h : e->seq_h + (t - 1) * e->B * e->Hp) + row * e->Hp + u);
            vec_store(e->seq_h + (t) * e->B * e->Hp + row * e->Hp + u, live ? v_h_next : v_h);
            vec_store(e->seq_c + ((t) % e->ring) * e->B * e->Hp + row * e->Hp + u, live ? v_c_next : v_c);
            if (e->keep) {
                vec_store(e->saved + (t * e->B + row) * 5 * e->Hp + u, v_t__11);
                vec_store(e->saved + (t * e->B + row) * 5 * e->Hp + e->Hp + u, v_o);
                vec_store(e->saved + (t * e->B + row) * 5 * e->Hp + 2 * e->Hp + u, v_g);
                vec_store(e->saved + (t * e->B + row) * 5 * e->Hp + 3 * e->Hp + u, v_i);
                vec_store(e->saved + (t * e->B + row) * 5 * e->Hp + 4 * e->Hp + u, v_f);
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
                    rows = next_rows(end - b, 6);
                    forward_0(e, t, b, i * 1 * LANES, rows);
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
    real *w0_3;
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
            const vec v_t__11 = vec_load(e->saved + (t * e->B + row) * 5 * e->Hp + u);
            const vec v_g__0 = v_d__h_next * v_t__11;
            const vec v_o = vec_load(e->saved + (t * e->B + row) * 5 * e->Hp + e->Hp + u);
            const vec v_g__1 = v_d__h_next * v_o;
            const vec v_g__2 = v_t__11 * v_t__11;
            const vec v_g__3 = (real)1.0 - v_g__2;
            const vec v_g__4 = v_g__1 * v_g__3;
            const vec v_d__c_next = vec_load(((e->T - t) % 2 == 1 ? e->run_c : e->spare_c) + row * e->Hp + u) + (e->by_seq_c ? vec_load(e->by_seq_c + (t * e->B + row) * e->Hp + u) : vec_all(0));
            const vec v_g__5 = v_d__c_next + v_g__4;
            const vec v_g = vec_load(e->saved + (t * e->B + row) * 5 * e->Hp + 2 * e->Hp + u);
            const vec v_g__6 = v_g__5 * v_g;
            const vec v_i = vec_load(e->saved + (t * e->B + row) * 5 * e->Hp + 3 * e->Hp + u);
            const vec v_g__7 = v_g__5 * v_i;
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_g__8 = v_g__5 * v_c;
            const vec v_f = vec_load(e->saved + (t * e->B + row) * 5 * e->Hp + 4 * e->Hp + u);
            const vec v_g__9 = v_g__5 * v_f;
            const vec v_g__10 = (real)1.0 - v_o;
            const vec v_g__11 = v_o * v_g__10;
            const vec v_g__12 = v_g__0 * v_g__11;
            const vec v_g__13 = v_g * v_g;
            const vec v_g__14 = (real)1.0 - v_g__13;
            const vec v_g__15 = v_g__7 * v_g__14;
            const vec v_g__16 = (real)1.0 - v_f;
            const vec v_g__17 = v_f * v_g__16;
            const vec v_g__18 = v_g__8 * v_g__17;
            const vec v_g__19 = (real)1.0 - v_i;
            const vec v_g__20 = v_i * v_g__19;
            const vec v_g__21 = v_g__6 * v_g__20;
            vec_store(e->scratch + row * 4 * e->Hp + u, v_g__12);
            vec_store(e->scratch + row * 4 * e->Hp + e->Hp + u, v_g__15);
            vec_store(e->scratch + row * 4 * e->Hp + 2 * e->Hp + u, v_g__18);
            vec_store(e->scratch + row * 4 * e->Hp + 3 * e->Hp + u, v_g__21);
            vec_store(((e->T - t) % 2 == 0 ? e->run_c : e->spare_c) + row * e->Hp + u, live ? v_g__9 : v_d__c_next);
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 4 * e->Hp + u, live ? v_g__21 : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 4 * e->Hp + e->Hp + u, live ? v_g__18 : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 4 * e->Hp + 2 * e->Hp + u, live ? v_g__15 : vec_all(0));
            vec_store(e->gradients + ((t - e->from) * e->B + row) * 4 * e->Hp + 3 * e->Hp + u, live ? v_g__12 : vec_all(0));
            (void)live;
        }
    }
}

/* backward, stage 1, values of size H */
static void backward_1(const backward_env *restrict e, long t, long b, long j, long rows)
{
    /* back__h = U_i.T @ g__21 + U_f.T @ g__18 + U_g.T @ g__15 + U_o.T @ g__12 */
    vec s0[6][1][4];
    for (int r = 0; r < rows; r++) {
        for (int p = 0; p < 1; p++) for (int q = 0; q < 4; q++) s0[r][p][q] = vec_all(0);
    }
    const factor of_s0[] = {
        {(e->scratch + 3 * e->Hp) + b * 4 * e->Hp, e->w0_0 + j * 1 * e->H, 4 * e->Hp, e->H},
        {(e->scratch + 2 * e->Hp) + b * 4 * e->Hp, e->w0_1 + j * 1 * e->H, 4 * e->Hp, e->H},
        {(e->scratch + e->Hp) + b * 4 * e->Hp, e->w0_2 + j * 1 * e->H, 4 * e->Hp, e->H},
        {(e->scratch) + b * 4 * e->Hp, e->w0_3 + j * 1 * e->H, 4 * e->Hp, e->H},
    };
    add_4(s0[0][0], of_s0, 4, rows);
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        for (int q = 0; q < 4; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_back__h = s0[r][0][q];
            const vec v_d__h_next = vec_load(((e->T - t) % 2 == 1 ? e->run_h : e->spare_h) + row * e->Hp + u) + vec_load(e->by_seq_h + (t * e->B + row) * e->Hp + u);
            vec_store(((e->T - t) % 2 == 0 ? e->run_h : e->spare_h) + row * e->Hp + u, live ? v_back__h : v_d__h_next);
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
            const long n = blocks(e->Hp, 4 * LANES);
            for (long i = n * c / e->C; i < n * (c + 1) / e->C; i++)
                for (long b = begin, rows; b < end; b += rows) {
                    rows = next_rows(end - b, 6);
                    backward_1(e, t, b, i * 4 * LANES, rows);
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
