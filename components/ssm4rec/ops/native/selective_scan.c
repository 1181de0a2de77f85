/* The selective scan of Mamba and its gradients, for float32 on a CPU; called by ../selective_scan_native.py.
 *
 * Gu & Dao (2024), "Mamba", section 3; for every row and channel e, with a state of N numbers:
 *
 *     h_t = exp(dt_t A) h_{t-1} + dt_t x_t b_t        y_t = c_t . h_t
 *
 * Shapes, all dense: B rows, L steps, E channels, N state size, R rates of a channel, N or 1;
 *     x, dt, y (B, L, E)    A (E, R)    b, c (B, L, N)    states (B, E, N)    cuts (B, L): h_{t-1} counts as 0
 *
 * With R = 1 all N numbers of a channel's state decay alike, as in the SSD of Mamba-2 (Dao & Gu 2024): one exponential
 * a step and channel in place of N. `shared` says so, and is a constant wherever these functions are compiled.
 *
 * Neighbouring channels are the lanes of a vector: b_t and c_t are then scalars, and neither y nor the gradients of x
 * and dt need a sum across lanes. The inner loops have a fixed number of lanes and plain C in them, which compilers
 * turn into vector code (without -ftrapping-math); three variants are compiled and the processor decides at run time.
 *
 * The forward saves the state at every CHUNK steps. The backward goes from the last chunk to the first, computes the
 * chunk's states again, and walks back through them. A row's gradients are the work of one thread in a fixed order, so
 * that results do not depend on the number of threads.
 */

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 64, CHUNK = 32 };

typedef float Lanes[LANES];

typedef struct {
    int64_t B, L, E, N, R;
    int64_t blocks; /* of LANES channels, the last one filled up with zeros */
    int64_t chunks; /* of CHUNK steps */
    const float *x, *dt, *b, *c;
    const Lanes *rates;            /* A / ln 2, (blocks, R), so that exp(dt A) = 2^(dt rate) */
    const uint8_t *cuts;           /* or NULL: none */
    const float *initial_state;    /* or NULL: zeros */
    float *y, *final_state;        /* forward */
    Lanes *starts;                 /* (B, chunks, blocks, N), the state before each chunk; or NULL: not wanted */
    const float *y_gradient;       /* backward */
    const float *final_gradient;   /* or NULL: zeros */
    float *x_gradient, *dt_gradient, *A_gradients, *b_gradient, *c_gradient;
    float *initial_gradient;
} Scan;

#define INLINE static inline __attribute__((always_inline))

/* 2^z for z <= 0: to 1 unit in the last place down to 2^-126, less than that below, 0 from -127 on; 1 at 0; NaN for
 * NaN. */
INLINE float power_of_two(float z) {
    z = z < -127.0f ? -127.0f : z;
    /* Adding 1.5 * 2^23 rounds z to an integer, which is then in the low bits of the sum. */
    const float rounded = z + 12582912.0f;
    const float f = z - (rounded - 12582912.0f); /* in [-1/2, 1/2] */
    /* Minimax for the relative error, 2e-9, with the constant held at 1. */
    float power = 0x1.41fbbcp-13f;
    power = power * f + 0x1.5f3e54p-10f;
    power = power * f + 0x1.3b2d4cp-7f;
    power = power * f + 0x1.c6aee8p-5f;
    power = power * f + 0x1.ebfbdcp-3f;
    power = power * f + 0x1.62e430p-1f;
    power = power * f + 1.0f;
    uint32_t bits, integer;
    memcpy(&bits, &power, sizeof bits);
    memcpy(&integer, &rounded, sizeof integer);
    bits += integer << 23; /* onto the exponent */
    memcpy(&power, &bits, sizeof power);
    return power;
}

INLINE void load(float *restrict lanes, const float *restrict from, int64_t count) {
    if (count >= LANES) {
        memcpy(lanes, from, sizeof(Lanes));
    } else {
        memset(lanes, 0, sizeof(Lanes));
        memcpy(lanes, from, (size_t)count * sizeof(float));
    }
}

INLINE void store(float *restrict to, const float *restrict lanes, int64_t count) {
    memcpy(to, lanes, count >= LANES ? sizeof(Lanes) : (size_t)count * sizeof(float));
}

/* One block's part of (B, E, N), into lanes (N); NULL stands for zeros. */
INLINE void load_block(Lanes *restrict lanes, const float *all, int64_t N, const Scan *s, int64_t row, int64_t block) {
    memset(lanes, 0, (size_t)N * sizeof(Lanes));
    if (all == NULL) return;
    for (int64_t i = 0; i < LANES && block * LANES + i < s->E; i++)
        for (int64_t n = 0; n < N; n++) lanes[n][i] = all[(row * s->E + block * LANES + i) * N + n];
}

INLINE void store_block(float *all, const Lanes *restrict lanes, int64_t N, const Scan *s, int64_t row, int64_t block) {
    for (int64_t i = 0; i < LANES && block * LANES + i < s->E; i++)
        for (int64_t n = 0; n < N; n++) all[(row * s->E + block * LANES + i) * N + n] = lanes[n][i];
}

INLINE int is_cut(const Scan *s, int64_t at) { return s->cuts != NULL && s->cuts[at]; }

/* Item: one block of one row. Scratch: N lanes. */
INLINE void forward_item(const Scan *s, int64_t item, Lanes *restrict state, const int shared) {
    const int64_t N = s->N, row = item / s->blocks, block = item % s->blocks;
    const int64_t first = block * LANES, count = s->E - first;
    const Lanes *restrict rates = s->rates + block * s->R;
    load_block(state, s->initial_state, N, s, row, block);
    for (int64_t t = 0; t < s->L; t++) {
        const int64_t at = row * s->L + t;
        if (s->starts != NULL && t % CHUNK == 0)
            memcpy(s->starts + ((row * s->chunks + t / CHUNK) * s->blocks + block) * N, state, (size_t)N * sizeof(Lanes));
        if (is_cut(s, at)) memset(state, 0, (size_t)N * sizeof(Lanes));
        Lanes dt, input, y, decay;
        load(dt, s->dt + at * s->E + first, count);
        load(input, s->x + at * s->E + first, count);
        memset(y, 0, sizeof y);
        for (int i = 0; i < LANES; i++) input[i] *= dt[i];
        if (shared)
            for (int i = 0; i < LANES; i++) decay[i] = power_of_two(dt[i] * rates[0][i]);
        for (int64_t n = 0; n < N; n++) {
            const float b = s->b[at * N + n], c = s->c[at * N + n];
            for (int i = 0; i < LANES; i++) {
                const float kept = shared ? decay[i] : power_of_two(dt[i] * rates[n][i]);
                const float h = kept * state[n][i] + input[i] * b;
                state[n][i] = h;
                y[i] += h * c;
            }
        }
        store(s->y + at * s->E + first, y, count);
    }
    store_block(s->final_state, state, N, s, row, block);
}

/* Lanes of scratch that backward_item wants. */
static int64_t backward_scratch(const Scan *s) {
    return (s->blocks + CHUNK + 2) * s->N + (s->blocks + CHUNK) * s->R;
}

/* Item: one row. For g, the gradient of h_t, which gathers c_t y'_t and what comes back from h_{t+1}:
 *
 *     g = c_t y'_t + exp(dt_{t+1} A) g_{t+1}
 *     c'_t = sum over e of y'_t h_t        b'_t = sum over e of g dt_t x_t        (dt_t x_t)' = b_t . g
 *     (dt_t A)' = g exp(dt_t A) h_{t-1}
 */
INLINE void backward_item(const Scan *s, int64_t row, Lanes *restrict scratch, const int shared) {
    const int64_t N = s->N, R = s->R, blocks = s->blocks;
    Lanes *restrict carried = scratch;                      /* (blocks, N), exp(dt_{t+1} A) g_{t+1} */
    Lanes *restrict A_gradient = carried + blocks * N;      /* (blocks, R) */
    Lanes *restrict decays = A_gradient + blocks * R;       /* (CHUNK, R) */
    Lanes *restrict zeros = decays + CHUNK * R;             /* (N) */
    Lanes *states = zeros + N;                              /* (CHUNK + 1, N), from the one before the chunk */
    memset(A_gradient, 0, (size_t)(blocks * R) * sizeof(Lanes));
    memset(zeros, 0, (size_t)N * sizeof(Lanes));
    memset(s->b_gradient + row * s->L * N, 0, (size_t)(s->L * N) * sizeof(float));
    memset(s->c_gradient + row * s->L * N, 0, (size_t)(s->L * N) * sizeof(float));
    for (int64_t block = 0; block < blocks; block++)
        load_block(carried + block * N, s->final_gradient, N, s, row, block);

    for (int64_t chunk = s->chunks - 1; chunk >= 0; chunk--) {
        const int64_t start = chunk * CHUNK, steps = s->L - start < CHUNK ? s->L - start : CHUNK;
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t first = block * LANES, count = s->E - first;
            const Lanes *restrict rates = s->rates + block * R;

            /* 1. The chunk's states and decays. */
            memcpy(states, s->starts + ((row * s->chunks + chunk) * blocks + block) * N, (size_t)N * sizeof(Lanes));
            for (int64_t k = 0; k < steps; k++) {
                const int64_t at = row * s->L + start + k;
                const Lanes *restrict before = is_cut(s, at) ? zeros : states + k * N;
                Lanes *restrict after = states + (k + 1) * N, *restrict decay = decays + k * R;
                Lanes dt, input;
                load(dt, s->dt + at * s->E + first, count);
                load(input, s->x + at * s->E + first, count);
                for (int i = 0; i < LANES; i++) input[i] *= dt[i];
                for (int64_t r = 0; r < R; r++)
                    for (int i = 0; i < LANES; i++) decay[r][i] = power_of_two(dt[i] * rates[r][i]);
                for (int64_t n = 0; n < N; n++) {
                    const float b = s->b[at * N + n];
                    const int64_t r = shared ? 0 : n;
                    for (int i = 0; i < LANES; i++) after[n][i] = decay[r][i] * before[n][i] + input[i] * b;
                }
            }

            /* 2. Back through them. */
            Lanes *restrict carry = carried + block * N, *restrict A_sum = A_gradient + block * R;
            for (int64_t k = steps - 1; k >= 0; k--) {
                const int64_t at = row * s->L + start + k;
                const Lanes *restrict before = is_cut(s, at) ? zeros : states + k * N;
                const Lanes *restrict after = states + (k + 1) * N, *restrict decay = decays + k * R;
                Lanes x, dt, input, y_gradient, input_sum, dt_sum, exponent_sum;
                load(x, s->x + at * s->E + first, count);
                load(dt, s->dt + at * s->E + first, count);
                load(y_gradient, s->y_gradient + at * s->E + first, count);
                memset(input_sum, 0, sizeof input_sum);
                memset(dt_sum, 0, sizeof dt_sum);
                memset(exponent_sum, 0, sizeof exponent_sum);
                for (int i = 0; i < LANES; i++) input[i] = dt[i] * x[i];
                for (int64_t n = 0; n < N; n++) {
                    const float b = s->b[at * N + n], c = s->c[at * N + n];
                    const int64_t r = shared ? 0 : n;
                    float b_sum = 0, c_sum = 0;
#pragma omp simd reduction(+ : b_sum, c_sum)
                    for (int i = 0; i < LANES; i++) {
                        const float g = carry[n][i] + y_gradient[i] * c;
                        c_sum += y_gradient[i] * after[n][i];
                        b_sum += g * input[i];
                        input_sum[i] += g * b;
                        const float decayed = g * decay[r][i];
                        const float exponent = decayed * before[n][i]; /* gradient of dt A */
                        carry[n][i] = decayed;
                        if (shared) {
                            exponent_sum[i] += exponent;
                        } else {
                            dt_sum[i] += exponent * rates[n][i];
                            A_sum[n][i] += exponent * dt[i];
                        }
                    }
                    s->b_gradient[at * N + n] += b_sum;
                    s->c_gradient[at * N + n] += c_sum;
                }
                if (is_cut(s, at)) memset(carry, 0, (size_t)N * sizeof(Lanes));
                if (shared)
                    for (int i = 0; i < LANES; i++) {
                        dt_sum[i] = exponent_sum[i] * rates[0][i];
                        A_sum[0][i] += exponent_sum[i] * dt[i];
                    }
                const float ln2 = 0.693147181f;
                for (int i = 0; i < LANES; i++) {
                    dt_sum[i] = dt_sum[i] * ln2 + input_sum[i] * x[i];
                    input_sum[i] *= dt[i];
                }
                store(s->x_gradient + at * s->E + first, input_sum, count);
                store(s->dt_gradient + at * s->E + first, dt_sum, count);
            }
        }
    }
    for (int64_t block = 0; block < blocks; block++) {
        store_block(s->A_gradients, A_gradient + block * R, R, s, row, block);
        store_block(s->initial_gradient, carried + block * N, N, s, row, block);
    }
}

typedef void Work(const Scan *, int64_t item, Lanes *scratch);

typedef struct {
    Work *forward[2], *backward[2]; /* with R = N, and with R = 1 */
} Variant;

#define VARIANT(name, target)                                                                                        \
    target static void forward_##name(const Scan *s, int64_t item, Lanes *m) { forward_item(s, item, m, 0); }        \
    target static void forward_shared_##name(const Scan *s, int64_t item, Lanes *m) { forward_item(s, item, m, 1); } \
    target static void backward_##name(const Scan *s, int64_t item, Lanes *m) { backward_item(s, item, m, 0); }      \
    target static void backward_shared_##name(const Scan *s, int64_t item, Lanes *m) { backward_item(s, item, m, 1); }
#define WORKS(name) {{forward_##name, forward_shared_##name}, {backward_##name, backward_shared_##name}}

VARIANT(baseline, )
#if defined(__x86_64__)
VARIANT(avx2, __attribute__((target("avx2,fma"))))
VARIANT(avx512, __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))))
#endif

static const Variant VARIANTS[] = {
    WORKS(baseline),
#if defined(__x86_64__)
    WORKS(avx2),
    WORKS(avx512),
#endif
};

/* To be raised with every change of what these functions take: the caller refuses a library of an older source. */
int selective_scan_interface(void) { return 2; }

/* How many of VARIANTS this processor runs: each needs more than the one before it. */
int selective_scan_variants(void) {
    int count = 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        count = 2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            count = 3;
    }
#endif
    return count;
}

typedef struct {
    const Scan *scan;
    Work *work;
    int64_t first, end;
    Lanes *scratch;
    pthread_t thread;
    int running;
} Share;

static void *do_share(void *argument) {
    const Share *share = argument;
    for (int64_t item = share->first; item < share->end; item++) share->work(share->scan, item, share->scratch);
    return NULL;
}

/* Do items 0..count on up to `threads` threads. Plain threads, not OpenMP: torch brings a libgomp of its own, slim
 * images have none, and its pool does not survive a fork. Returns 0, or -1 when memory is short. */
static int run(const Scan *s, Work *work, int64_t count, int64_t scratch_lanes, int64_t threads) {
    if (s->B * s->L * s->E * s->N < 1 << 18 || threads < 1) threads = 1; /* a thread's start would cost more */
    if (threads > count) threads = count;
    if (count == 0) return 0;
    Share *shares = calloc((size_t)threads, sizeof *shares);
    Lanes *scratch = aligned_alloc(LANES * sizeof(float), (size_t)(threads * scratch_lanes) * sizeof(Lanes));
    if (shares == NULL || scratch == NULL) {
        free(shares);
        free(scratch);
        return -1;
    }
    for (int64_t i = threads - 1; i >= 0; i--) {
        Share *share = shares + i;
        share->scan = s;
        share->work = work;
        share->first = count * i / threads;
        share->end = count * (i + 1) / threads;
        share->scratch = scratch + i * scratch_lanes;
        share->running = i > 0 && pthread_create(&share->thread, NULL, do_share, share) == 0;
        if (!share->running) do_share(share);
    }
    for (int64_t i = 1; i < threads; i++)
        if (shares[i].running) pthread_join(shares[i].thread, NULL);
    free(shares);
    free(scratch);
    return 0;
}

static int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

/* Return A / ln 2 in lanes (blocks, R), or NULL when memory is short. */
static Lanes *new_rates(const float *A, const Scan *s) {
    Lanes *rates = aligned_alloc(LANES * sizeof(float), (size_t)(s->blocks * s->R) * sizeof(Lanes));
    if (rates == NULL) return NULL;
    for (int64_t block = 0; block < s->blocks; block++) {
        Lanes *of_block = rates + block * s->R;
        load_block(of_block, A, s->R, s, 0, block);
        for (int64_t r = 0; r < s->R; r++)
            for (int i = 0; i < LANES; i++) of_block[r][i] *= 1.44269504f;
    }
    return rates;
}

/* How many floats `starts` has. */
int64_t selective_scan_starts(int64_t B, int64_t L, int64_t E, int64_t N) {
    return B * parts(L, CHUNK) * parts(E, LANES) * N * LANES;
}

/* Compute y, final_state and, unless NULL, starts. Returns 0, or -1 when memory is short. */
int selective_scan_forward(
    int64_t variant, int64_t threads, int64_t B, int64_t L, int64_t E, int64_t N, int64_t R, const float *x,
    const float *dt, const float *A, const float *b, const float *c, const uint8_t *cuts, const float *initial_state, float *y,
    float *final_state, float *starts) {
    Scan s = {.B = B, .L = L, .E = E, .N = N, .R = R, .blocks = parts(E, LANES), .chunks = parts(L, CHUNK), .x = x, .dt = dt,
              .b = b, .c = c, .cuts = cuts, .initial_state = initial_state, .y = y, .final_state = final_state,
              .starts = (Lanes *)starts};
    Lanes *rates = new_rates(A, &s);
    if (rates == NULL) return -1;
    s.rates = rates;
    const int result = run(&s, VARIANTS[variant].forward[R == 1], B * s.blocks, N, threads);
    free(rates);
    return result;
}

/* Compute the gradients; A_gradients (B, E, R) is that of each row, to be summed over them. Returns as above. */
int selective_scan_backward(
    int64_t variant, int64_t threads, int64_t B, int64_t L, int64_t E, int64_t N, int64_t R, const float *x,
    const float *dt, const float *A, const float *b, const float *c, const uint8_t *cuts, const float *starts, const float *y_gradient,
    const float *final_gradient, float *x_gradient, float *dt_gradient, float *A_gradients, float *b_gradient,
    float *c_gradient, float *initial_gradient) {
    Scan s = {.B = B, .L = L, .E = E, .N = N, .R = R, .blocks = parts(E, LANES), .chunks = parts(L, CHUNK), .x = x, .dt = dt,
              .b = b, .c = c, .cuts = cuts, .starts = (Lanes *)starts, .y_gradient = y_gradient,
              .final_gradient = final_gradient, .x_gradient = x_gradient, .dt_gradient = dt_gradient,
              .A_gradients = A_gradients, .b_gradient = b_gradient, .c_gradient = c_gradient,
              .initial_gradient = initial_gradient};
    Lanes *rates = new_rates(A, &s);
    if (rates == NULL) return -1;
    s.rates = rates;
    const int result = run(&s, VARIANTS[variant].backward[R == 1], B, backward_scratch(&s), threads);
    free(rates);
    return result;
}
