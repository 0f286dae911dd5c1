// How many frames a stack of convolutions without padding makes of an utterance.
#ifndef D2V_LOADERS_FRAMES_H
#define D2V_LOADERS_FRAMES_H

#include <stdint.h>

#define D2V_FRAMES_LAYERS_MAX 32

typedef struct d2v_frames_layer {
	int32_t kernel, stride;
} d2v_frames_layer;

typedef struct d2v_frames_spec {
	d2v_frames_layer layer[D2V_FRAMES_LAYERS_MAX];
	int32_t count;
} d2v_frames_spec;

// T_{i+1} = floor((T_i - kernel) / stride) + 1, layer by layer (model.md 2.2); 0 when a layer gets less than its
// kernel.
static inline int64_t d2v_frames_count(const d2v_frames_spec *spec, int64_t samples) {
	for (int32_t i = 0; i < spec->count; i++) {
		if (samples < spec->layer[i].kernel)
			return 0;
		samples = (samples - spec->layer[i].kernel) / spec->layer[i].stride + 1;
	}
	return samples;
}

// The extractor of every published speech recipe: 16000 samples give 49 frames.
static inline d2v_frames_spec d2v_frames_published(void) {
	return (d2v_frames_spec){ { { 10, 5 }, { 3, 2 }, { 3, 2 }, { 3, 2 }, { 3, 2 }, { 2, 2 }, { 2, 2 } }, 7 };
}

#endif
