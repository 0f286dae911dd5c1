// Tiny models that between them take every branch of a step: for tests that hold of all of them.
#ifndef D2V_TESTS_TINY_VARIANTS_H
#define D2V_TESTS_TINY_VARIANTS_H

#include "train/model_config.h"

typedef struct tiny_variant {
	const char *name;
	void (*change)(d2v_model_config *config); // of what tiny_config gives
	bool padded;
	double extractor_factor; // gradients of the extractor over the loss's derivative (local_grad_mult)
	const char *untouched;   // parameters whose name begins so have no gradient; NULL: all have
	d2v_modality modality;   // of the batch, 0: speech
} tiny_variant;

extern tiny_variant tiny_variants[]; // ends with a row whose name is NULL

#endif
