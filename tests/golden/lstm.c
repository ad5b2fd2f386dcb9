INLINE vec op_sigmoid(vec a) { return 1 / (1 + vec_exp(-a)); }
INLINE vec op_tanh(vec a) { return vec_tanh(a); }

typedef struct {
    long T, B, F, H, P, Fp, Hp, Pp, ring, keep;
    const int64_t *lengths;
    real *x;
    real *ready;
    real *vectors;
    real *saved;
    real *scratch;
    real *first_h;
    real *seq_h;
    real *first_c;
    real *seq_c;
    real *w0;
} forward_env;

/* forward, stage 0, values of size H */
INLINE void forward_0(forward_env *e, long t, long b, long j, const int rows)
{
    /* U_i__h = U_i @ h; U_f__h = U_f @ h; U_g__h = U_g @ h; U_o__h = U_o @ h */
    vec s0[6][4][1];
    _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++) _Pragma("GCC unroll 4") for (int p = 0; p < 4; p++) _Pragma("GCC unroll 1") for (int q = 0; q < 1; q++) s0[r][p][q] = vec_all(0);
    const real *w_0 = e->w0 + j * 4 * (e->H);
    {
        const real *a = (t == 0 ? e->first_h : e->seq_h + ((t - 1) % e->ring) * e->B * e->Hp) + b * (e->Hp);
        const long stride = e->Hp, depth = e->H;
        for (long k = 0; k < depth; k++) {
            vec w[4][1];
            _Pragma("GCC unroll 4") for (int p = 0; p < 4; p++) _Pragma("GCC unroll 1") for (int q = 0; q < 1; q++) w[p][q] = vec_load(w_0 + (p * 1 + q) * LANES);
            w_0 += 4 * LANES;
            _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++) {
                const real n = a[r * stride + k];
                _Pragma("GCC unroll 4") for (int p = 0; p < 4; p++) _Pragma("GCC unroll 1") for (int q = 0; q < 1; q++) s0[r][p][q] += n * w[p][q];
            }
        }
    }
    _Pragma("GCC unroll 6")
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        _Pragma("GCC unroll 1")
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_U_i__h = s0[r][0][q];
            const vec v_U_f__h = s0[r][1][q];
            const vec v_U_g__h = s0[r][2][q];
            const vec v_U_o__h = s0[r][3][q];
            const vec v_W_i__x = vec_load(e->ready + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp) + (0) + u);
            const vec v_t__0 = v_W_i__x + v_U_i__h;
            const vec v_b_i = vec_load(e->vectors + (0) + u);
            const vec v_t__1 = v_t__0 + v_b_i;
            const vec v_i = op_sigmoid(v_t__1);
            const vec v_W_f__x = vec_load(e->ready + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp) + u);
            const vec v_t__3 = v_W_f__x + v_U_f__h;
            const vec v_b_f = vec_load(e->vectors + (e->Hp) + u);
            const vec v_t__4 = v_t__3 + v_b_f;
            const vec v_f = op_sigmoid(v_t__4);
            const vec v_W_g__x = vec_load(e->ready + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp) + u);
            const vec v_t__6 = v_W_g__x + v_U_g__h;
            const vec v_b_g = vec_load(e->vectors + (e->Hp + e->Hp) + u);
            const vec v_t__7 = v_t__6 + v_b_g;
            const vec v_g = op_tanh(v_t__7);
            const vec v_W_o__x = vec_load(e->ready + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp + e->Hp) + u);
            const vec v_t__9 = v_W_o__x + v_U_o__h;
            const vec v_b_o = vec_load(e->vectors + (e->Hp + e->Hp + e->Hp) + u);
            const vec v_t__10 = v_t__9 + v_b_o;
            const vec v_o = op_sigmoid(v_t__10);
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_t__12 = v_f * v_c;
            const vec v_t__13 = v_i * v_g;
            const vec v_c_next = v_t__12 + v_t__13;
            const vec v_t__15 = op_tanh(v_c_next);
            const vec v_h_next = v_o * v_t__15;
            const vec v_h = vec_load((t == 0 ? e->first_h : e->seq_h + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            vec_store(e->seq_h + (t % e->ring) * e->B * e->Hp + row * e->Hp + u, live ? v_h_next : v_h);
            vec_store(e->seq_c + (t % e->ring) * e->B * e->Hp + row * e->Hp + u, live ? v_c_next : v_c);
            if (e->keep) {
            vec_store(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (0) + u, v_t__15);
            vec_store(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp) + u, v_o);
            vec_store(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp) + u, v_g);
            vec_store(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp + e->Hp) + u, v_i);
            vec_store(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp + e->Hp + e->Hp) + u, v_f);
            }
            (void)live;
        }
    }
}

void forward(const long *sizes, void *const *arrays, long begin, long end)
{
    forward_env env, *e = &env;
    e->T = sizes[0];
    e->B = sizes[1];
    e->F = sizes[2];
    e->H = sizes[3];
    e->P = sizes[4];
    e->Fp = sizes[5];
    e->Hp = sizes[6];
    e->Pp = sizes[7];
    e->ring = sizes[8];
    e->keep = sizes[9];
    e->lengths = arrays[0];
    e->x = arrays[1];
    e->ready = arrays[2];
    e->vectors = arrays[3];
    e->saved = arrays[4];
    e->scratch = arrays[5];
    e->first_h = arrays[6];
    e->seq_h = arrays[7];
    e->first_c = arrays[8];
    e->seq_c = arrays[9];
    e->w0 = arrays[10];
    for (long t = 0; t < e->T; t++) {
        for (long j = 0; j < e->Hp; j += 1 * LANES) {
            long b = begin;
            for (; b + 6 <= end; b += 6) forward_0(e, t, b, j, 6);
            for (; b + 3 <= end; b += 3) forward_0(e, t, b, j, 3);
            for (; b + 1 <= end; b += 1) forward_0(e, t, b, j, 1);
        }
    }
}

typedef struct {
    long T, B, F, H, P, Fp, Hp, Pp, ring, keep;
    const int64_t *lengths;
    real *x;
    real *vectors;
    real *saved;
    real *scratch;
    real *gradients;
    real *by_x;
    real *by_output;
    real *first_h;
    real *seq_h;
    real *first_c;
    real *seq_c;
    real *run_h;
    real *spare_h;
    real *run_c;
    real *spare_c;
    real *w0;
} backward_env;

/* backward, stage 0, values of size H */
INLINE void backward_0(backward_env *e, long t, long b, long j, const int rows)
{
    _Pragma("GCC unroll 12")
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        _Pragma("GCC unroll 1")
        for (int q = 0; q < 1; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_d__h_next = vec_load(((e->T - t) % 2 == 1 ? e->run_h : e->spare_h) + row * e->Hp + u) + vec_load(e->by_output + (t * e->B + row) * e->Hp + u);
            const vec v_t__15 = vec_load(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (0) + u);
            const vec v_g__0 = v_d__h_next * v_t__15;
            const vec v_o = vec_load(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp) + u);
            const vec v_g__1 = v_d__h_next * v_o;
            const vec v_g__2 = v_t__15 * v_t__15;
            const vec v_g__3 = (real)1.0 - v_g__2;
            const vec v_g__4 = v_g__1 * v_g__3;
            const vec v_d__c_next = vec_load(((e->T - t) % 2 == 1 ? e->run_c : e->spare_c) + row * e->Hp + u);
            const vec v_g__5 = v_d__c_next + v_g__4;
            const vec v_g = vec_load(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp) + u);
            const vec v_g__6 = v_g__5 * v_g;
            const vec v_i = vec_load(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp + e->Hp) + u);
            const vec v_g__7 = v_g__5 * v_i;
            const vec v_c = vec_load((t == 0 ? e->first_c : e->seq_c + ((t - 1) % e->ring) * e->B * e->Hp) + row * e->Hp + u);
            const vec v_g__8 = v_g__5 * v_c;
            const vec v_f = vec_load(e->saved + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp + e->Hp + e->Hp) + u);
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
            vec_store(e->scratch + row * (e->Hp + e->Hp + e->Hp + e->Hp) + (0) + u, v_g__12);
            vec_store(e->scratch + row * (e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp) + u, v_g__15);
            vec_store(e->scratch + row * (e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp) + u, v_g__18);
            vec_store(e->scratch + row * (e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp + e->Hp) + u, v_g__21);
            vec_store(((e->T - t) % 2 == 0 ? e->run_c : e->spare_c) + row * e->Hp + u, live ? v_g__9 : v_d__c_next);
            vec_store(e->gradients + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp) + (0) + u, live ? v_g__21 : vec_all(0));
            vec_store(e->gradients + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp) + u, live ? v_g__18 : vec_all(0));
            vec_store(e->gradients + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp) + u, live ? v_g__15 : vec_all(0));
            vec_store(e->gradients + (t * e->B + row) * (e->Hp + e->Hp + e->Hp + e->Hp) + (e->Hp + e->Hp + e->Hp) + u, live ? v_g__12 : vec_all(0));
            (void)live;
        }
    }
}

/* backward, stage 1, values of size H */
INLINE void backward_1(backward_env *e, long t, long b, long j, const int rows)
{
    /* back__h = U_i.T @ g__21 + U_f.T @ g__18 + U_g.T @ g__15 + U_o.T @ g__12 */
    vec s0[6][1][4];
    _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++) _Pragma("GCC unroll 1") for (int p = 0; p < 1; p++) _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) s0[r][p][q] = vec_all(0);
    const real *w_0 = e->w0 + j * 1 * (e->H + e->H + e->H + e->H);
    {
        const real *a = (e->scratch + (e->Hp + e->Hp + e->Hp)) + b * ((e->Hp + e->Hp + e->Hp + e->Hp));
        const long stride = (e->Hp + e->Hp + e->Hp + e->Hp), depth = e->H;
        for (long k = 0; k < depth; k++) {
            vec w[1][4];
            _Pragma("GCC unroll 1") for (int p = 0; p < 1; p++) _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) w[p][q] = vec_load(w_0 + (p * 4 + q) * LANES);
            w_0 += 4 * LANES;
            _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++) {
                const real n = a[r * stride + k];
                _Pragma("GCC unroll 1") for (int p = 0; p < 1; p++) _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) s0[r][p][q] += n * w[p][q];
            }
        }
    }
    {
        const real *a = (e->scratch + (e->Hp + e->Hp)) + b * ((e->Hp + e->Hp + e->Hp + e->Hp));
        const long stride = (e->Hp + e->Hp + e->Hp + e->Hp), depth = e->H;
        for (long k = 0; k < depth; k++) {
            vec w[1][4];
            _Pragma("GCC unroll 1") for (int p = 0; p < 1; p++) _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) w[p][q] = vec_load(w_0 + (p * 4 + q) * LANES);
            w_0 += 4 * LANES;
            _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++) {
                const real n = a[r * stride + k];
                _Pragma("GCC unroll 1") for (int p = 0; p < 1; p++) _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) s0[r][p][q] += n * w[p][q];
            }
        }
    }
    {
        const real *a = (e->scratch + (e->Hp)) + b * ((e->Hp + e->Hp + e->Hp + e->Hp));
        const long stride = (e->Hp + e->Hp + e->Hp + e->Hp), depth = e->H;
        for (long k = 0; k < depth; k++) {
            vec w[1][4];
            _Pragma("GCC unroll 1") for (int p = 0; p < 1; p++) _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) w[p][q] = vec_load(w_0 + (p * 4 + q) * LANES);
            w_0 += 4 * LANES;
            _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++) {
                const real n = a[r * stride + k];
                _Pragma("GCC unroll 1") for (int p = 0; p < 1; p++) _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) s0[r][p][q] += n * w[p][q];
            }
        }
    }
    {
        const real *a = (e->scratch + (0)) + b * ((e->Hp + e->Hp + e->Hp + e->Hp));
        const long stride = (e->Hp + e->Hp + e->Hp + e->Hp), depth = e->H;
        for (long k = 0; k < depth; k++) {
            vec w[1][4];
            _Pragma("GCC unroll 1") for (int p = 0; p < 1; p++) _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) w[p][q] = vec_load(w_0 + (p * 4 + q) * LANES);
            w_0 += 4 * LANES;
            _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++) {
                const real n = a[r * stride + k];
                _Pragma("GCC unroll 1") for (int p = 0; p < 1; p++) _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) s0[r][p][q] += n * w[p][q];
            }
        }
    }
    _Pragma("GCC unroll 6")
    for (int r = 0; r < rows; r++) {
        const long row = b + r;
        const int live = !e->lengths || t < e->lengths[row];
        _Pragma("GCC unroll 4")
        for (int q = 0; q < 4; q++) {
            const long u = j + q * LANES;
            if (u >= e->Hp) break;
            const vec v_back__h = s0[r][0][q];
            const vec v_d__h_next = vec_load(((e->T - t) % 2 == 1 ? e->run_h : e->spare_h) + row * e->Hp + u) + vec_load(e->by_output + (t * e->B + row) * e->Hp + u);
            vec_store(((e->T - t) % 2 == 0 ? e->run_h : e->spare_h) + row * e->Hp + u, live ? v_back__h : v_d__h_next);
            (void)live;
        }
    }
}

void backward(const long *sizes, void *const *arrays, long begin, long end)
{
    backward_env env, *e = &env;
    e->T = sizes[0];
    e->B = sizes[1];
    e->F = sizes[2];
    e->H = sizes[3];
    e->P = sizes[4];
    e->Fp = sizes[5];
    e->Hp = sizes[6];
    e->Pp = sizes[7];
    e->ring = sizes[8];
    e->keep = sizes[9];
    e->lengths = arrays[0];
    e->x = arrays[1];
    e->vectors = arrays[2];
    e->saved = arrays[3];
    e->scratch = arrays[4];
    e->gradients = arrays[5];
    e->by_x = arrays[6];
    e->by_output = arrays[7];
    e->first_h = arrays[8];
    e->seq_h = arrays[9];
    e->first_c = arrays[10];
    e->seq_c = arrays[11];
    e->run_h = arrays[12];
    e->spare_h = arrays[13];
    e->run_c = arrays[14];
    e->spare_c = arrays[15];
    e->w0 = arrays[16];
    for (long t = e->T - 1; t >= 0; t--) {
        for (long j = 0; j < e->Hp; j += 1 * LANES) {
            long b = begin;
            for (; b + 12 <= end; b += 12) backward_0(e, t, b, j, 12);
            for (; b + 6 <= end; b += 6) backward_0(e, t, b, j, 6);
            for (; b + 3 <= end; b += 3) backward_0(e, t, b, j, 3);
            for (; b + 1 <= end; b += 1) backward_0(e, t, b, j, 1);
        }
        for (long j = 0; j < e->Hp; j += 4 * LANES) {
            long b = begin;
            for (; b + 6 <= end; b += 6) backward_1(e, t, b, j, 6);
            for (; b + 3 <= end; b += 3) backward_1(e, t, b, j, 3);
            for (; b + 1 <= end; b += 1) backward_1(e, t, b, j, 1);
        }
    }
}
