#include "kernels/cpu/gemm.h"

#include <oneapi/dnnl/dnnl.h>
#include <string.h>

static bool product(const d2v_gemm *op) {
	return dnnl_sgemm(op->trans_a ? 'T' : 'N', op->trans_b ? 'T' : 'N', op->m, op->n, op->k,
			   op->alpha == 0 ? 1 : op->alpha, op->a, op->lda, op->b, op->ldb, op->accumulate ? 1 : 0, op->c,
			   op->ldc) == dnnl_success;
}

// oneDNN takes no rows that overlap. Parts of them that are as long as they are apart do not.
static bool overlapping_a(const d2v_gemm *op) {
	bool ok = true;
	for (int64_t at = 0; at < op->k; at += op->lda) {
		d2v_gemm part = *op;
		part.k = d2v_cpu_min(op->lda, op->k - at);
		part.a = op->a + at;
		part.b = op->b + (op->trans_b ? at : at * op->ldb);
		part.accumulate = op->accumulate || at > 0;
		ok = product(&part) && ok;
	}
	return ok;
}

// The same for b: as many columns at a time as do not overlap.
static bool overlapping_b(const d2v_gemm *op) {
	bool ok = true;
	for (int64_t column = 0; column < op->n; column += op->ldb) {
		d2v_gemm part = *op;
		part.n = d2v_cpu_min(op->ldb, op->n - column);
		part.b = op->b + column;
		part.c = op->c + column;
		ok = product(&part) && ok;
	}
	return ok;
}

bool d2v_cpu_gemm(const d2v_gemm *op) {
	if (op->m == 0 || op->n == 0)
		return true;
	if (op->k == 0) {
		for (int64_t i = 0; i < op->m && !op->accumulate; i++)
			memset(op->c + i * op->ldc, 0, (size_t)op->n * sizeof *op->c);
		return true;
	}
	if (!op->trans_a && op->lda < op->k)
		return overlapping_a(op);
	if (!op->trans_b && op->ldb < op->n)
		return overlapping_b(op);
	return product(op);
}

void d2v_cpu_gemm_failed(d2v_device *dev) {
	d2v_device_set_error(dev, D2V_NO_MEMORY, "oneDNN refused a matrix product; most likely memory ran out");
}
