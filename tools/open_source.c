#include "tools/open_source.h"

#include "loaders/image_source.h"
#include "loaders/joint_source.h"
#include "loaders/speech_source.h"
#include "loaders/text_source.h"
#include "tools/loader_settings.h"

#include <string.h>

#define EVAL_BATCH 64
#define EVAL_AUDIO 960000 // audio samples of a batch
#define EVAL_BORDER 128   // pictures of at least this side lose a border, as is usual with ImageNet

static d2v_prefetch_options common_options(const d2v_config *config, const d2v_task_part *part, d2v_device *device) {
	return (d2v_prefetch_options){
		.data = part->data,
		.split = part->train_subset[0] ? part->train_subset : NULL,
		.seed = (uint64_t)config->common.seed,
		.imitated_world_size = (uint32_t)config->world_size,
		.world_size = 1,
		.threads = config->dataset.num_workers > 0 ? (int)config->dataset.num_workers : 1,
		.max_damaged = (uint64_t)config->own.max_damaged,
		.max_damaged_share = config->own.max_damaged_share,
		.allocator = d2v_loader_memory(device),
	};
}

// ---- speech

static d2v_status speech_options(const d2v_config *config, const d2v_task_part *part, d2v_device *device,
	d2v_speech_options *options, d2v_error *err) {
	*options = (d2v_speech_options){
		.common = common_options(config, part, device),
		.limits = { .max_tokens = (uint64_t)part->max_tokens,
			.batch_size = (uint32_t)part->batch_size,
			.required_batch_size_multiple = (uint32_t)config->dataset.required_batch_size_multiple,
			.min_sample_size = (uint32_t)config->task.min_sample_size,
			.max_sample_size = (uint32_t)config->task.max_sample_size },
		.clone_batch = (int32_t)config->model.clone_batch,
		.masks = d2v_loader_masks(&config->model.audio),
		.normalize = config->task.normalize,
		.rate = (uint32_t)config->task.sample_rate,
	};
	return d2v_loader_frames(&config->model.audio, &options->frames, err);
}

// Samples that give the first frame.
static uint32_t shortest_utterance(const d2v_frames_spec *frames) {
	uint32_t need = 1;
	for (int i = frames->count - 1; i >= 0; i--)
		need = (need - 1) * (uint32_t)frames->layer[i].stride + (uint32_t)frames->layer[i].kernel;
	return need;
}

// ---- pictures

static d2v_image_options image_options(const d2v_config *config, const d2v_task_part *part, d2v_device *device) {
	return (d2v_image_options){
		.common = common_options(config, part, device),
		.batch_size = (uint32_t)part->batch_size,
		.size = (int32_t)config->model.image.input_size,
		.patch_size = (int32_t)config->model.image.patch_size,
		.flip = 0.5,
		.clone_batch = (int32_t)config->model.clone_batch,
		.masks = d2v_loader_masks(&config->model.image),
	};
}

// ---- text

static d2v_text_options text_options(const d2v_config *config, const d2v_task_part *part, d2v_device *device) {
	return (d2v_text_options){
		.common = common_options(config, part, device),
		.limits = { .tokens_per_sample = (uint32_t)config->task.tokens_per_sample,
			.batch_size = (uint32_t)part->batch_size,
			.max_tokens = (uint64_t)part->max_tokens,
			.required_batch_size_multiple = (uint32_t)config->dataset.required_batch_size_multiple },
		.clone_batch = (int32_t)config->model.clone_batch,
		.masks = d2v_loader_masks(&config->model.text),
	};
}

static d2v_status open_text(
	d2v_source **source, const d2v_config *config, const d2v_text_options *options, d2v_error *err) {
	D2V_TRY(d2v_text_source_open(source, options, err));
	uint32_t rows = d2v_text_source_rows(*source);
	if (rows <= config->model.text.vocab_size)
		return D2V_OK;
	d2v_source_close(*source);
	*source = NULL;
	return d2v_fail(err, D2V_INVALID,
		"%s: its dictionary has %u entries, model.modalities.text.vocab_size is %lld; set that to %u",
		options->common.data, rows, (long long)config->model.text.vocab_size, rows);
}

// ---- all

static const char *data_key(const d2v_config *config, d2v_modality modality) {
	static const char *const keys[] = {
		[D2V_AUDIO] = "task.audio.data", [D2V_IMAGE] = "task.image.data", [D2V_TEXT] = "task.text.data"
	};
	return d2v_config_is_joint(config) ? keys[modality] : "task.data";
}

static d2v_status check_length(const d2v_modality_config *modality, d2v_error *err) {
	if (modality->mask_length <= INT32_MAX)
		return D2V_OK;
	return d2v_fail(err, D2V_INVALID, "mask_length: %lld is too long", (long long)modality->mask_length);
}

d2v_status d2v_open_part(
	d2v_source **source, const d2v_config *config, d2v_modality modality, d2v_device *device, d2v_error *err) {
	d2v_task_part part = d2v_config_part(config, modality);
	d2v_speech_options speech;
	*source = NULL;
	if (!part.data[0])
		return d2v_fail(err, D2V_INVALID, "give the folder of a data set of %s: %s=DIR (d2v-ingest makes one)",
			d2v_modality_contents(modality), data_key(config, modality));
	D2V_TRY(check_length(d2v_model_config_modality(&config->model, modality), err));
	d2v_status status;
	if (modality == D2V_AUDIO) {
		D2V_TRY(speech_options(config, &part, device, &speech, err));
		status = d2v_speech_source_open(source, &speech, err);
	} else if (modality == D2V_IMAGE) {
		d2v_image_options image = image_options(config, &part, device);
		status = d2v_image_source_open(source, &image, err);
	} else {
		d2v_text_options text = text_options(config, &part, device);
		status = open_text(source, config, &text, err);
	}
	return status == D2V_OK ? D2V_OK : d2v_error_prefix(err, "%s", data_key(config, modality));
}

static d2v_status open_joint(d2v_source **source, const d2v_config *config, d2v_device *device, d2v_error *err) {
	d2v_joint_options options = { .seed = (uint64_t)config->common.seed,
		.imitated_world_size = (uint32_t)config->world_size,
		.update_freq = (uint32_t)config->optimization.update_freq.value[0],
		.world_size = 1 };
	d2v_status status = D2V_OK;
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END && status == D2V_OK; modality++) {
		if (!d2v_model_config_has(&config->model, modality))
			continue;
		options.shares[options.count] = d2v_config_part(config, modality).share;
		status = d2v_open_part(&options.sources[options.count], config, modality, device, err);
		options.count += status == D2V_OK;
	}
	if (status == D2V_OK)
		status = d2v_joint_source_open(source, &options, err);
	for (int i = 0; i < options.count && status != D2V_OK; i++)
		d2v_source_close(options.sources[i]);
	return status;
}

d2v_status d2v_open_source(d2v_source **source, const d2v_config *config, d2v_device *device, d2v_error *err) {
	*source = NULL;
	if (d2v_config_is_joint(config))
		return open_joint(source, config, device, err);
	return d2v_open_part(source, config, (d2v_modality)config->model.supported_modality, device, err);
}

// ---- for features

static d2v_task_part eval_part(const d2v_eval_data *wanted) {
	d2v_task_part part = { .batch_size = wanted->batch_size ? wanted->batch_size : EVAL_BATCH };
	snprintf(part.data, sizeof part.data, "%s", wanted->data);
	snprintf(part.train_subset, sizeof part.train_subset, "%s", wanted->split ? wanted->split : "");
	return part;
}

static d2v_prefetch_options eval_common(
	const d2v_config *config, const d2v_task_part *part, const d2v_eval_data *wanted, d2v_device *device) {
	d2v_prefetch_options common = common_options(config, part, device);
	common.imitated_world_size = 1;
	common.threads = wanted->threads > 0 ? (int)wanted->threads : 1;
	common.max_damaged = 0;
	common.max_damaged_share = 0;
	return common;
}

static d2v_status open_eval_speech(d2v_source **source, const d2v_config *config, const d2v_task_part *part,
	const d2v_eval_data *wanted, d2v_device *device, d2v_error *err) {
	d2v_speech_options options;
	D2V_TRY(speech_options(config, part, device, &options, err));
	options.common = eval_common(config, part, wanted, device);
	options.eval = true;
	options.limits.min_sample_size = shortest_utterance(&options.frames);
	options.limits.required_batch_size_multiple = 1;
	options.limits.max_tokens = options.limits.max_sample_size = EVAL_AUDIO;
	return d2v_speech_source_open(source, &options, err);
}

d2v_status d2v_open_eval_source(d2v_source **source, const d2v_config *config, d2v_modality modality,
	const d2v_eval_data *wanted, d2v_device *device, d2v_error *err) {
	d2v_task_part part = eval_part(wanted);
	d2v_prefetch_options common = eval_common(config, &part, wanted, device);
	*source = NULL;
	if (strlen(wanted->data) >= sizeof part.data)
		return d2v_fail(err, D2V_INVALID, "%s: the name is too long", wanted->data);
	if (modality == D2V_AUDIO)
		return open_eval_speech(source, config, &part, wanted, device, err);
	if (modality == D2V_IMAGE) {
		d2v_image_options image = image_options(config, &part, device);
		image.common = common;
		image.eval = true;
		image.resize = image.size < EVAL_BORDER ? image.size : 0;
		return d2v_image_source_open(source, &image, err);
	}
	d2v_text_options text = text_options(config, &part, device);
	text.common = common;
	text.eval = true;
	return open_text(source, config, &text, err);
}
