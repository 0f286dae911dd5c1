#include "kernels/cpu/outer.h"

#include "kernels/cpu/gemm.h"

#include <string.h>

#define MIN_PART_ROWS 512
#define MAX_PARTS 8
#define TILE 512 // of m, when c is large
#define SUM_ROWS 256

static int64_t part_rows(int64_t rows) {
	return d2v_cpu_max(MIN_PART_ROWS, d2v_cpu_pieces(rows, MAX_PARTS));
}

int64_t d2v_cpu_outer_room(int64_t m, int64_t n, int64_t rows) {
	return d2v_cpu_pieces(rows, part_rows(rows)) * d2v_cpu_round(m * n);
}

bool d2v_cpu_outer(float *c, const float *a, const float *b, int64_t m, int64_t n, int64_t rows, float *scratch) {
	int64_t size = part_rows(rows), parts = d2v_cpu_pieces(rows, size), stride = d2v_cpu_round(m * n);
	int64_t tiles = d2v_cpu_pieces(m, TILE);
	bool ok = true;
#pragma omp parallel for collapse(2) schedule(dynamic) reduction(&& : ok)
	for (int64_t part = 0; part < parts; part++)
		for (int64_t tile = 0; tile < tiles; tile++) {
			int64_t row = part * size, column = tile * TILE;
			ok = d2v_cpu_gemm(&(d2v_gemm){ .m = d2v_cpu_min(TILE, m - column),
					 .n = n,
					 .k = d2v_cpu_min(size, rows - row),
					 .a = a + row * m + column,
					 .lda = m,
					 .trans_a = true,
					 .b = b + row * n,
					 .ldb = n,
					 .c = scratch + part * stride + column * n,
					 .ldc = n }) &&
				 ok;
		}
	d2v_cpu_add_partials(c, scratch, parts, stride, m * n);
	return ok;
}

int64_t d2v_cpu_column_sums_room(int64_t rows, int64_t count) {
	return d2v_cpu_pieces(rows, SUM_ROWS) * d2v_cpu_round(count);
}

void d2v_cpu_column_sums(float *sum, const float *x, int64_t rows, int64_t count, float *scratch) {
	int64_t pieces = d2v_cpu_pieces(rows, SUM_ROWS), stride = d2v_cpu_round(count);
#pragma omp parallel for schedule(static)
	for (int64_t piece = 0; piece < pieces; piece++) {
		float *partial = scratch + piece * stride;
		memset(partial, 0, (size_t)count * sizeof *partial);
		for (int64_t row = piece * SUM_ROWS; row < d2v_cpu_min(rows, (piece + 1) * SUM_ROWS); row++) {
#pragma omp simd
			for (int64_t i = 0; i < count; i++)
				partial[i] += x[row * count + i];
		}
	}
	d2v_cpu_add_partials(sum, scratch, pieces, stride, count);
}
