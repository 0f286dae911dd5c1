// Multiplications and additions of this file alone may fuse; elsewhere two roundings are two roundings.
#pragma GCC optimize("fp-contract=fast")

#include "kernels/cpu/tile_gemm.h"

#define LANES D2V_TILE_LANES
#if LANES == 16
#define ROWS 8
#define MAX_VECTORS 3 // 8 x 3 sums, 3 of b, 1 of a: 28 of 32 registers
#else
#define ROWS 6
#define MAX_VECTORS 2 // 6 x 2 sums, 2 of b, 1 of a: 15 of 16 registers
#endif

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline vector load(const float *p) {
	return *(const vector *)p;
}

static inline const float *row_of(const d2v_tile_gemm *op, int64_t i) {
	i = i < op->m ? i : op->m - 1;
	return op->a + (op->wrap ? i / op->wrap * op->a_wrap + i % op->wrap * op->a_row : i * op->a_row);
}

// The sums of one tile, columns from j, rows from i; rows past m repeat the last one and are not stored.
static inline __attribute__((always_inline)) void sum_tile(
	const d2v_tile_gemm *op, int64_t i, int64_t j, int vectors, float sums[ROWS][MAX_VECTORS * LANES]) {
	vector sum[ROWS][MAX_VECTORS];
	const float *a[ROWS];
	for (int r = 0; r < ROWS; r++) {
		a[r] = row_of(op, i + r);
		for (int v = 0; v < vectors; v++)
			sum[r][v] = (vector){ 0 };
	}
	int64_t k = op->k, a_step = op->a_step, b_step = op->b_step, runs = op->runs ? op->runs : 1;
	for (int64_t run = 0; run < runs; run++) {
		const float *b = op->b + run * op->b_run + j;
		for (int64_t t = 0; t < k; t++, b += b_step) {
			vector row[MAX_VECTORS];
			for (int v = 0; v < vectors; v++)
				row[v] = load(b + v * LANES);
			for (int r = 0; r < ROWS; r++)
				for (int v = 0; v < vectors; v++)
					sum[r][v] += a[r][t * a_step] * row[v];
		}
		for (int r = 0; r < ROWS; r++)
			a[r] += op->a_run;
	}
	for (int r = 0; r < ROWS; r++)
		for (int v = 0; v < vectors; v++)
			*(vector *)&sums[r][v * LANES] = sum[r][v];
}

// One function a width, so that the loops above unroll.
static void sum_tile_1(const d2v_tile_gemm *op, int64_t i, int64_t j, float sums[ROWS][MAX_VECTORS * LANES]) {
	sum_tile(op, i, j, 1, sums);
}

static void sum_tile_2(const d2v_tile_gemm *op, int64_t i, int64_t j, float sums[ROWS][MAX_VECTORS * LANES]) {
	sum_tile(op, i, j, 2, sums);
}

#if MAX_VECTORS > 2
static void sum_tile_3(const d2v_tile_gemm *op, int64_t i, int64_t j, float sums[ROWS][MAX_VECTORS * LANES]) {
	sum_tile(op, i, j, 3, sums);
}
#endif

static void store_row(float *c, const float *sums, int64_t n, float alpha, bool accumulate) {
	if (accumulate) {
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			c[j] += alpha * sums[j];
	} else {
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			c[j] = alpha * sums[j];
	}
}

// Four vectors are 2 + 2 rather than 3 + 1: the fewer sums there are, the more the loads cost.
static int next_vectors(int64_t columns) {
	int64_t left = d2v_tile_round(columns) / LANES;
	return left == 4 ? 2 : left < MAX_VECTORS ? (int)left : MAX_VECTORS;
}

void d2v_cpu_tile_gemm(const d2v_tile_gemm *op) {
	static void (*const kernels[])(const d2v_tile_gemm *, int64_t, int64_t, float[ROWS][MAX_VECTORS * LANES]) = {
		sum_tile_1,
		sum_tile_2,
#if MAX_VECTORS > 2
		sum_tile_3,
#endif
	};
	_Alignas(64) float sums[ROWS][MAX_VECTORS * LANES];
	float alpha = op->alpha == 0 ? 1.0f : op->alpha;
	for (int64_t j = 0; j < op->n;) {
		int vectors = next_vectors(op->n - j);
		int64_t columns = op->n - j < vectors * LANES ? op->n - j : vectors * LANES;
		for (int64_t i = 0; i < op->m; i += ROWS) {
			kernels[vectors - 1](op, i, j, sums);
			for (int64_t r = i; r < op->m && r < i + ROWS; r++)
				store_row(op->c + r * op->ldc + j, sums[r - i], columns, alpha, op->accumulate);
		}
		j += columns;
	}
}
