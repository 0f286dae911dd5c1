#include "tools/loader_settings.h"

d2v_mask_settings d2v_loader_masks(const d2v_modality_config *modality) {
	return (d2v_mask_settings){ .mask_prob = modality->mask_prob,
		.mask_prob_adjust = modality->mask_prob_adjust,
		.mask_length = (int32_t)modality->mask_length,
		.inverse_mask = modality->inverse_mask,
		.mask_dropout = modality->mask_dropout,
		.add_masks = modality->add_masks };
}

d2v_status d2v_loader_frames(const d2v_modality_config *audio, d2v_frames_spec *frames, d2v_error *err) {
	d2v_conv_spec spec;
	D2V_TRY(d2v_conv_spec_parse(audio->feature_encoder_spec, &spec, err));
	for (int i = 0; i < spec.count; i++)
		frames->layer[i] =
			(d2v_frames_layer){ .kernel = (int32_t)spec.layer[i].kernel, .stride = (int32_t)spec.layer[i].stride };
	frames->count = spec.count;
	return D2V_OK;
}

static d2v_status alloc_host(void *context, void *out, size_t bytes, d2v_error *err) {
	return d2v_device_alloc_host(context, out, bytes, err);
}

static void free_host(void *context, void *block) {
	d2v_device_free_host(context, block);
}

d2v_source_allocator d2v_loader_memory(d2v_device *device) {
	return (d2v_source_allocator){ .alloc = alloc_host, .free = free_host, .context = device };
}
