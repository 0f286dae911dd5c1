#include "train/checkpoint.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "train/safetensors.h"

#include <stdio.h>
#include <string.h>

#define VERSION "1"
#define JOINT_VERSION "2"  // the state has `parts`
#define SCALED_VERSION "3" // it has `loss_scale`, and maybe `parts`
#define TEACHER "_ema."
#define NAME_MAX_BYTES (D2V_PARAM_NAME + 16)

struct d2v_checkpoint {
	d2v_safetensors *file;
	char *path;
	d2v_loop_state state;
};

// ---- the loop's state as JSON

// What a joint run has for each of its data sets.
static d2v_status fill_parts(json_t *root, const d2v_loop_state *state, d2v_error *err) {
	json_t *parts = json_array(), *watches = json_object();
	D2V_TRY(d2v_json_set(root, "parts", parts, err));
	D2V_TRY(d2v_json_set(root, "collapse", watches, err));
	for (uint64_t i = 0; i < state->position.parts; i++) {
		const d2v_source_place *place = &state->position.part[i];
		json_t *part = json_object();
		if (!part || json_array_append_new(parts, part) != 0)
			return d2v_fail(err, D2V_NO_MEMORY, "out of memory for the state");
		D2V_TRY(d2v_json_set_u64(part, "epoch", place->epoch, err));
		D2V_TRY(d2v_json_set_u64(part, "step", place->step, err));
		D2V_TRY(d2v_json_set_u64(part, "index", place->index, err));
		D2V_TRY(d2v_json_set_hex64(part, "plan", place->plan, err));
	}
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++) {
		json_t *watch;
		D2V_TRY(d2v_collapse_tree(&state->collapse[modality], &watch, err));
		D2V_TRY(d2v_json_set(watches, d2v_modality_name(modality), watch, err));
	}
	return D2V_OK;
}

static d2v_status fill_loss_scale(json_t *root, const d2v_loss_scale *state, d2v_error *err) {
	json_t *scale = json_object();
	D2V_TRY(d2v_json_set(root, "loss_scale", scale, err));
	D2V_TRY(d2v_json_set(scale, "scale", json_real(state->scale), err));
	D2V_TRY(d2v_json_set_u64(scale, "good", state->good, err));
	return d2v_json_set_u64(scale, "skipped", state->skipped, err);
}

static d2v_status fill_state(json_t *root, const d2v_loop_state *state, d2v_error *err) {
	json_t *collapse;
	D2V_TRY(d2v_json_set_u64(root, "updates", state->updates, err));
	D2V_TRY(d2v_json_set_u64(root, "batches", state->batches, err));
	D2V_TRY(d2v_json_set_u64(root, "samples", state->samples, err));
	D2V_TRY(d2v_json_set_u64(root, "audio_samples", state->audio_samples, err));
	D2V_TRY(d2v_json_set_hex64(root, "batch_digest", state->batch_digest, err));
	D2V_TRY(d2v_json_set_u64(root, "epoch", state->position.epoch, err));
	D2V_TRY(d2v_json_set_u64(root, "step", state->position.step, err));
	D2V_TRY(d2v_json_set_u64(root, "index", state->position.index, err));
	D2V_TRY(d2v_json_set_hex64(root, "plan", state->position.plan, err));
	D2V_TRY(d2v_json_set_u64(root, "threads", (uint64_t)state->threads, err));
	if (state->loss_scale.scale > 0)
		D2V_TRY(fill_loss_scale(root, &state->loss_scale, err));
	if (state->position.parts)
		return fill_parts(root, state, err);
	D2V_TRY(d2v_collapse_tree(&state->collapse[0], &collapse, err));
	return d2v_json_set(root, "collapse", collapse, err);
}

static d2v_status state_text(const d2v_loop_state *state, char **text, d2v_error *err) {
	json_t *root = json_object();
	*text = NULL;
	d2v_status status = fill_state(root, state, err);
	if (status == D2V_OK)
		status = d2v_json_text(root, text, err);
	json_decref(root);
	return status;
}

static d2v_status read_parts(const json_t *root, const char *where, d2v_loop_state *state, d2v_error *err) {
	json_t *parts, *watches, *watch;
	D2V_TRY(d2v_json_get_array(root, "parts", where, &parts, err));
	D2V_TRY(d2v_json_get_object(root, "collapse", where, &watches, err));
	state->position.parts = json_array_size(parts);
	if (state->position.parts < 1 || state->position.parts > D2V_SOURCE_PARTS)
		return d2v_fail(
			err, D2V_INVALID, "%s: the state has %llu parts", where, (unsigned long long)state->position.parts);
	for (uint64_t i = 0; i < state->position.parts; i++) {
		const json_t *part = json_array_get(parts, i);
		d2v_source_place *place = &state->position.part[i];
		D2V_TRY(d2v_json_get_u64(part, "epoch", where, INT64_MAX, &place->epoch, err));
		D2V_TRY(d2v_json_get_u64(part, "step", where, INT64_MAX, &place->step, err));
		D2V_TRY(d2v_json_get_u64(part, "index", where, INT64_MAX, &place->index, err));
		D2V_TRY(d2v_json_get_hex64(part, "plan", where, &place->plan, err));
	}
	for (d2v_modality modality = D2V_AUDIO; modality < D2V_MODALITY_END; modality++) {
		D2V_TRY(d2v_json_get_object(watches, d2v_modality_name(modality), where, &watch, err));
		D2V_TRY(d2v_collapse_read(&state->collapse[modality], watch, where, err));
	}
	return D2V_OK;
}

static d2v_status read_loss_scale(const json_t *root, const char *where, d2v_loss_scale *state, d2v_error *err) {
	json_t *scale;
	if (!json_object_get(root, "loss_scale"))
		return D2V_OK;
	D2V_TRY(d2v_json_get_object(root, "loss_scale", where, &scale, err));
	state->scale = json_number_value(json_object_get(scale, "scale"));
	if (!(state->scale > 0 && state->scale <= 0x1p127))
		return d2v_fail(err, D2V_INVALID, "%s: the state's loss_scale.scale is no scale", where);
	D2V_TRY(d2v_json_get_u64(scale, "good", where, INT64_MAX, &state->good, err));
	return d2v_json_get_u64(scale, "skipped", where, INT64_MAX, &state->skipped, err);
}

static d2v_status read_state(const json_t *root, const char *where, d2v_loop_state *state, d2v_error *err) {
	uint64_t threads;
	json_t *collapse;
	D2V_TRY(d2v_json_get_u64(root, "updates", where, INT64_MAX, &state->updates, err));
	D2V_TRY(d2v_json_get_u64(root, "batches", where, INT64_MAX, &state->batches, err));
	D2V_TRY(d2v_json_get_u64(root, "samples", where, INT64_MAX, &state->samples, err));
	D2V_TRY(d2v_json_get_u64(root, "audio_samples", where, INT64_MAX, &state->audio_samples, err));
	D2V_TRY(d2v_json_get_hex64(root, "batch_digest", where, &state->batch_digest, err));
	D2V_TRY(d2v_json_get_u64(root, "epoch", where, INT64_MAX, &state->position.epoch, err));
	D2V_TRY(d2v_json_get_u64(root, "step", where, INT64_MAX, &state->position.step, err));
	D2V_TRY(d2v_json_get_u64(root, "index", where, INT64_MAX, &state->position.index, err));
	D2V_TRY(d2v_json_get_hex64(root, "plan", where, &state->position.plan, err));
	D2V_TRY(d2v_json_get_u64(root, "threads", where, 1 << 20, &threads, err));
	state->threads = (int)threads;
	D2V_TRY(read_loss_scale(root, where, &state->loss_scale, err));
	if (json_object_get(root, "parts"))
		return read_parts(root, where, state, err);
	D2V_TRY(d2v_json_get_object(root, "collapse", where, &collapse, err));
	return d2v_collapse_read(&state->collapse[0], collapse, where, err);
}

// ---- the list of tensors: one source of truth for saving and loading

enum role { ROLE_WEIGHT, ROLE_TEACHER, ROLE_M, ROLE_V, ROLE_COUNT };

// False: the parameter has no such tensor.
static bool tensor_name(const d2v_model *model, const d2v_param *param, enum role role, char name[NAME_MAX_BYTES]) {
	static const char *const prefixes[] = { "", TEACHER, "optimizer.m.", "optimizer.v." };
	static const char blocks[] = "blocks.";
	const char *own = param->name;
	if (role == ROLE_TEACHER && param->teacher_offset < 0)
		return false;
	if ((role == ROLE_M || role == ROLE_V) && param->frozen)
		return false;
	// A teacher of trunk blocks only is the list of blocks itself, as the original names it (model.md 10.4).
	if (role == ROLE_TEACHER && d2v_model_configuration(model)->ema_encoder_only &&
		strncmp(own, blocks, sizeof blocks - 1) == 0)
		own += sizeof blocks - 1;
	snprintf(name, NAME_MAX_BYTES, "%s%s", prefixes[role], own);
	return true;
}

static float *flat_of(d2v_model *model, d2v_optimizer *optimizer, enum role role) {
	switch (role) {
	case ROLE_WEIGHT:
		return d2v_model_weights(model);
	case ROLE_TEACHER:
		return d2v_model_teacher(model);
	case ROLE_M:
		return d2v_optimizer_m(optimizer);
	default:
		return d2v_optimizer_v(optimizer);
	}
}

static int64_t flat_size(const d2v_params *params, enum role role) {
	return role == ROLE_TEACHER ? params->teacher_size : params->size;
}

static int64_t offset_of(const d2v_param *param, enum role role) {
	return role == ROLE_TEACHER ? param->teacher_offset : param->offset;
}

// ---- saving

typedef struct picture { // host copies of everything, while a file is written
	float *flat[ROLE_COUNT];
	char (*names)[NAME_MAX_BYTES];
	d2v_safetensors_tensor *tensors;
	int count;
} picture;

static void release_picture(picture *all) {
	for (int role = 0; role < ROLE_COUNT; role++)
		d2v_free(all->flat[role]);
	d2v_free(all->names);
	d2v_free(all->tensors);
}

static void add_tensor(picture *all, const d2v_param *param, enum role role) {
	d2v_safetensors_tensor *tensor = &all->tensors[all->count];
	*tensor = (d2v_safetensors_tensor){ .name = all->names[all->count],
		.dtype = D2V_F32,
		.rank = param->rank,
		.data = all->flat[role] + offset_of(param, role) };
	for (int i = 0; i < param->rank; i++)
		tensor->shape[i] = param->shape[i];
	all->count++;
}

static d2v_status take_picture(picture *all, d2v_model *model, d2v_optimizer *optimizer, d2v_error *err) {
	const d2v_params *params = d2v_model_params(model);
	d2v_device *device = d2v_model_device(model);
	size_t most = (size_t)params->count * ROLE_COUNT + 1;
	D2V_TRY(d2v_alloc(&all->names, most, sizeof *all->names, err));
	D2V_TRY(d2v_alloc(&all->tensors, most, sizeof *all->tensors, err));
	for (int role = 0; role < ROLE_COUNT; role++) {
		size_t size = (size_t)flat_size(params, (enum role)role);
		D2V_TRY(d2v_alloc(&all->flat[role], size, sizeof(float), err));
		d2v_device_download(device, all->flat[role], flat_of(model, optimizer, (enum role)role), size * sizeof(float));
		for (int i = 0; i < params->count; i++)
			if (tensor_name(model, &params->list[i], (enum role)role, all->names[all->count]))
				add_tensor(all, &params->list[i], (enum role)role);
	}
	snprintf(all->names[all->count], NAME_MAX_BYTES, "optimizer.steps");
	all->tensors[all->count] = (d2v_safetensors_tensor){ .name = all->names[all->count],
		.dtype = D2V_I64,
		.rank = 1,
		.shape = { params->count },
		.data = d2v_optimizer_steps(optimizer) };
	all->count++;
	return d2v_device_sync(device, err);
}

static uint64_t digest_tensor(
	uint64_t running, const char *name, int rank, const int64_t *shape, const void *data, size_t size) {
	running = d2v_hash64_chain(running, d2v_hash64(name, strlen(name)));
	running = d2v_hash64_chain(running, d2v_hash64(shape, (size_t)rank * sizeof *shape));
	return d2v_hash64_chain(running, d2v_hash64(data, size));
}

static uint64_t digest_texts(const char *config, const char *state) {
	return d2v_hash64_chain(d2v_hash64(config, strlen(config)), d2v_hash64(state, strlen(state)));
}

static uint64_t digest_picture(const picture *all, const char *config, const char *state) {
	uint64_t digest = digest_texts(config, state);
	for (int i = 0; i < all->count; i++) {
		const d2v_safetensors_tensor *tensor = &all->tensors[i];
		size_t size = d2v_dtype_size(tensor->dtype);
		for (int k = 0; k < tensor->rank; k++)
			size *= (size_t)tensor->shape[k];
		digest = digest_tensor(digest, tensor->name, tensor->rank, tensor->shape, tensor->data, size);
	}
	return digest;
}

d2v_status d2v_checkpoint_save(const char *path, d2v_model *model, d2v_optimizer *optimizer,
	const d2v_loop_state *state, const char *config, d2v_error *err) {
	picture all = { .count = 0 };
	char *state_json = NULL, digest[17];
	d2v_status status = state_text(state, &state_json, err);
	if (status == D2V_OK)
		status = take_picture(&all, model, optimizer, err);
	if (status == D2V_OK) {
		d2v_hash64_hex(digest_picture(&all, config, state_json), digest);
		const char *version = state->loss_scale.scale > 0 ? SCALED_VERSION
							  : state->position.parts     ? JOINT_VERSION
														  : VERSION;
		const char *metadata[] = { "format", "d2v", "d2v.version", version, "d2v.digest", digest, "d2v.config", config,
			"d2v.state", state_json, NULL };
		status = d2v_safetensors_save(path, all.tensors, all.count, metadata, err);
	}
	release_picture(&all);
	d2v_free(state_json);
	return status;
}

// ---- opening

static d2v_status read_metadata(d2v_checkpoint *checkpoint, d2v_error *err) {
	const char *version = d2v_safetensors_metadata(checkpoint->file, "d2v.version");
	const char *config = d2v_safetensors_metadata(checkpoint->file, "d2v.config");
	const char *state = d2v_safetensors_metadata(checkpoint->file, "d2v.state");
	const char *digest = d2v_safetensors_metadata(checkpoint->file, "d2v.digest");
	if (!version || !config || !state || !digest)
		return d2v_fail(err, D2V_INVALID, "%s: is no checkpoint of d2v-train (no d2v.* metadata)", checkpoint->path);
	if (strcmp(version, VERSION) != 0 && strcmp(version, JOINT_VERSION) != 0 && strcmp(version, SCALED_VERSION) != 0)
		return d2v_fail(err, D2V_UNSUPPORTED, "%s: checkpoint version %s; this program reads %s to %s",
			checkpoint->path, version, VERSION, SCALED_VERSION);
	uint64_t found = digest_texts(config, state);
	for (int i = 0; i < d2v_safetensors_count(checkpoint->file); i++) {
		const d2v_tensor_info *tensor = d2v_safetensors_at(checkpoint->file, i);
		found = digest_tensor(found, tensor->name, tensor->rank, tensor->shape, tensor->data, tensor->size);
	}
	char hex[17];
	d2v_hash64_hex(found, hex);
	if (strcmp(hex, digest) != 0)
		return d2v_fail(err, D2V_CORRUPT, "%s: damaged: its digest is %s, not %s", checkpoint->path, hex, digest);
	json_t *root;
	D2V_TRY(d2v_json_parse(state, strlen(state), checkpoint->path, &root, err));
	d2v_status status = read_state(root, checkpoint->path, &checkpoint->state, err);
	json_decref(root);
	return status;
}

d2v_status d2v_checkpoint_open(d2v_checkpoint **checkpoint, const char *path, d2v_error *err) {
	d2v_checkpoint *made;
	*checkpoint = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	d2v_status status = d2v_strdup(&made->path, path, err);
	if (status == D2V_OK)
		status = d2v_safetensors_open(&made->file, path, err);
	if (status == D2V_OK)
		status = read_metadata(made, err);
	if (status != D2V_OK) {
		d2v_checkpoint_close(made);
		return status;
	}
	*checkpoint = made;
	return D2V_OK;
}

void d2v_checkpoint_close(d2v_checkpoint *checkpoint) {
	if (!checkpoint)
		return;
	d2v_safetensors_close(checkpoint->file);
	d2v_free(checkpoint->path);
	d2v_free(checkpoint);
}

const char *d2v_checkpoint_path(const d2v_checkpoint *checkpoint) {
	return checkpoint->path;
}

const d2v_loop_state *d2v_checkpoint_state(const d2v_checkpoint *checkpoint) {
	return &checkpoint->state;
}

const char *d2v_checkpoint_config(const d2v_checkpoint *checkpoint) {
	return d2v_safetensors_metadata(checkpoint->file, "d2v.config");
}

// ---- loading

// The order of the file is ours when it was saved for the same model, so each name is looked for first where it then
// is.
static const d2v_tensor_info *find_tensor(const d2v_checkpoint *checkpoint, const char *name, int *expected) {
	if (*expected < d2v_safetensors_count(checkpoint->file)) {
		const d2v_tensor_info *tensor = d2v_safetensors_at(checkpoint->file, (*expected)++);
		if (strcmp(tensor->name, name) == 0)
			return tensor;
	}
	return d2v_safetensors_find(checkpoint->file, name);
}

static d2v_status check_tensor(const d2v_checkpoint *checkpoint, const d2v_tensor_info *tensor, const char *name,
	const d2v_param *param, d2v_error *err) {
	if (!tensor)
		return d2v_fail(err, D2V_INVALID, "%s: has no tensor %s; it is of another model", checkpoint->path, name);
	bool same = tensor->dtype == D2V_F32 && tensor->rank == param->rank;
	for (int i = 0; same && i < param->rank; i++)
		same = tensor->shape[i] == param->shape[i];
	if (!same)
		return d2v_fail(
			err, D2V_INVALID, "%s: tensor %s has another type or shape than this model's", checkpoint->path, name);
	return D2V_OK;
}

// Through a host copy of the flat array, so that the gaps are zero as they must be.
static d2v_status load_role(const d2v_checkpoint *checkpoint, d2v_model *model, d2v_optimizer *optimizer,
	enum role role, int *expected, d2v_error *err) {
	const d2v_params *params = d2v_model_params(model);
	d2v_device *device = d2v_model_device(model);
	size_t size = (size_t)flat_size(params, role);
	float *flat;
	D2V_TRY(d2v_alloc_zero(&flat, size, sizeof *flat, err));
	d2v_status status = D2V_OK;
	for (int i = 0; i < params->count && status == D2V_OK; i++) {
		char name[NAME_MAX_BYTES];
		if (!tensor_name(model, &params->list[i], role, name))
			continue;
		const d2v_tensor_info *tensor = find_tensor(checkpoint, name, expected);
		status = check_tensor(checkpoint, tensor, name, &params->list[i], err);
		if (status == D2V_OK)
			memcpy(flat + offset_of(&params->list[i], role), tensor->data, tensor->size);
	}
	if (status == D2V_OK) {
		d2v_device_upload(device, flat_of(model, optimizer, role), flat, size * sizeof *flat);
		status = d2v_device_sync(device, err);
	}
	d2v_free(flat);
	return status;
}

static d2v_status load_steps(
	const d2v_checkpoint *checkpoint, d2v_model *model, d2v_optimizer *optimizer, d2v_error *err) {
	const d2v_tensor_info *steps = d2v_safetensors_find(checkpoint->file, "optimizer.steps");
	int count = d2v_model_params(model)->count;
	if (!steps || steps->dtype != D2V_I64 || steps->rank != 1 || steps->shape[0] != count)
		return d2v_fail(err, D2V_INVALID, "%s: optimizer.steps is not one counter for each of %d parameters",
			checkpoint->path, count);
	memcpy(d2v_optimizer_steps(optimizer), steps->data, steps->size);
	return D2V_OK;
}

d2v_status d2v_checkpoint_load(
	const d2v_checkpoint *checkpoint, d2v_model *model, d2v_optimizer *optimizer, d2v_error *err) {
	int expected = 0;
	for (int role = 0; role < ROLE_COUNT; role++)
		if (optimizer || role < ROLE_M)
			D2V_TRY(load_role(checkpoint, model, optimizer, (enum role)role, &expected, err));
	if (optimizer)
		D2V_TRY(load_steps(checkpoint, model, optimizer, err));
	d2v_model_refresh(model);
	return D2V_OK;
}
