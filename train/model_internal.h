// What a d2v_model is made of; for train/model*.c only.
#ifndef D2V_TRAIN_MODEL_INTERNAL_H
#define D2V_TRAIN_MODEL_INTERNAL_H

#include "train/audio_encoder.h"
#include "train/context.h"
#include "train/decoder_1d.h"
#include "train/device_batch.h"
#include "train/model.h"

struct d2v_model {
	d2v_device *device; // borrowed
	d2v_model_config config;
	const d2v_modality_config *modality; // of config
	d2v_params params;

	// The parts, as places in the list of parameters.
	d2v_audio_encoder audio;
	d2v_context context;
	d2v_decoder_1d decoder;
	d2v_blocks trunk;
	int norm_gain, norm_bias; // after the trunk, with layer_norm_first

	// Device memory. The working copies are NULL where the working type is float: then the masters themselves are used.
	float *weights, *gradients, *teacher;
	d2v_real *working, *teacher_working;
	float *slopes; // (H)

	d2v_range *teacher_ranges, *student_ranges; // (params.count) room for ema.c
	bool *touched;
	uint64_t parts; // batches since the gradients were zeroed

	void *block; // the arena's memory, grown when a batch needs more
	size_t block_size;
	d2v_tape tape;
	d2v_padding padding;
	d2v_profile *profile; // or NULL
	bool watch_bias;
	d2v_step_view view;
};

#endif
