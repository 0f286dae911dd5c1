// The parts of the targets' kernels: layers come in a kernel's arguments.
#ifndef D2V_KERNELS_CUDA_TARGETS_CUH
#define D2V_KERNELS_CUDA_TARGETS_CUH

#include "kernels/cuda/launch.cuh"

#define TARGET_LAYERS 64 // as many blocks as a model may have
#define TARGET_EPS 1e-5f

typedef struct layer_list {
	const void *layer[TARGET_LAYERS];
} layer_list;

// The mean over op's layers of their instance norms over time, and then, where op asks for it, its layer norm. T: of the
// layers. False: it is not done here, there are too many tokens for the chip or channels come in no packs.
// (cuda_targets_strips.cu)
bool d2v_cuda_target_strips(d2v_device *dev, const d2v_target *op, const layer_list &layers);
// y = its instance norm over time, the same way.
bool d2v_cuda_target_strips_of_mean(d2v_device *dev, const d2v_target *op);

#endif
