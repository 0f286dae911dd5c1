// What both ways of the layer norm share: which of its kernels an operation gets, and what they cannot take.
//
// What an operation does not ask for is not compiled into the kernels of the usual cases.
#ifndef D2V_KERNELS_CUDA_NORM_CUH
#define D2V_KERNELS_CUDA_NORM_CUH

#include "kernels/cuda/draws.cuh"
#include "kernels/cuda/gelu.cuh"

// DROPPED: a residual and its dropout. ADDED: gelu and `add`, a layer of a decoder. ANY: whatever the operation asks for.
enum norm_kind { PLAIN, RESIDUAL, DROPPED, GELU, ADDED, ANY };

// Whether its rows can be taken in packs of `wide` channels.
static inline bool fits_wide(const d2v_norm *op, int64_t wide) {
	return op->channels % wide == 0 && fits_packs(&op->drop, wide) && fits_packs(&op->after_drop, wide);
}

static inline void refuse_width(d2v_device *dev, int64_t channels, bool packed, int64_t most) {
	d2v_device_set_error(dev, D2V_UNSUPPORTED, "rows of %lld channels; the GPU's layer norm takes up to %lld%s",
		(long long)channels, (long long)most, packed ? "" : " when they are no multiple of 8");
}

#endif
