// Stands in for kernels/cuda/ in a build without CUDA.
#include "kernels/backend.h"

d2v_status d2v_cuda_open(d2v_device **device, int index, d2v_precision precision, d2v_error *err) {
	(void)precision;
	*device = NULL;
	return d2v_fail(err, D2V_UNSUPPORTED,
		"cuda:%d: this build has no CUDA in it; install the CUDA toolkit and run `make CUDA=1`, or use device \"cpu\"",
		index);
}
