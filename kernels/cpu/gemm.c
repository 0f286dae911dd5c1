#include "kernels/cpu/gemm.h"

#include <oneapi/dnnl/dnnl.h>
#include <string.h>

bool d2v_cpu_gemm(const d2v_gemm *op) {
	if (op->m == 0 || op->n == 0)
		return true;
	if (op->k == 0) {
		for (int64_t i = 0; i < op->m && !op->accumulate; i++)
			memset(op->c + i * op->ldc, 0, (size_t)op->n * sizeof *op->c);
		return true;
	}
	return dnnl_sgemm(op->trans_a ? 'T' : 'N', op->trans_b ? 'T' : 'N', op->m, op->n, op->k,
			   op->alpha == 0 ? 1 : op->alpha, op->a, op->lda, op->b, op->ldb, op->accumulate ? 1 : 0, op->c,
			   op->ldc) == dnnl_success;
}

void d2v_cpu_gemm_failed(d2v_device *dev) {
	d2v_device_set_error(dev, D2V_NO_MEMORY, "oneDNN refused a matrix product; most likely memory ran out");
}
