#include "tests/train/synthetic_batches.h"

#include "loaders/synthetic_source.h"
#include "tools/loader_settings.h"

d2v_status synthetic_batches_open(
	d2v_source **source, const d2v_config *config, synthetic_shape shape, d2v_device *device, d2v_error *err) {
	d2v_modality modality = (d2v_modality)config->model.supported_modality;
	const d2v_modality_config *own = d2v_model_config_modality(&config->model, modality);
	d2v_synthetic_options options = { .modality = modality,
		.seed = 1,
		.repeat = 2,
		.samples = shape.samples,
		.clones = (int32_t)config->model.clone_batch,
		.masks = d2v_loader_masks(own),
		.allocator = d2v_loader_memory(device) };
	if (modality == D2V_AUDIO) {
		options.length = shape.length;
		D2V_TRY(d2v_loader_frames(own, &options.frames, err));
	} else if (modality == D2V_IMAGE) {
		options.side = (int32_t)own->input_size, options.patch = (int32_t)own->patch_size;
	} else {
		options.tokens = shape.tokens, options.vocabulary = (int32_t)own->vocab_size;
	}
	return d2v_synthetic_source_open(source, &options, err);
}
