#include "tools/trained_model.h"

#include "base/file.h"
#include "train/checkpoint.h"

#include <string.h>

static d2v_status open_checkpoint(d2v_checkpoint **checkpoint, const char *path, d2v_error *err) {
	if (!d2v_file_is_directory(path))
		return d2v_checkpoint_open(checkpoint, path, err);
	D2V_TRY(d2v_checkpoint_find(checkpoint, path, err));
	if (!*checkpoint)
		return d2v_fail(err, D2V_NOT_FOUND, "%s: holds no checkpoint", path);
	return D2V_OK;
}

static d2v_status read_config(d2v_config *config, const d2v_checkpoint *checkpoint, d2v_error *err) {
	const char *text = d2v_checkpoint_config(checkpoint);
	D2V_TRY(d2v_config_defaults(config, err));
	D2V_TRY(d2v_config_read_yaml(config, text, strlen(text), d2v_checkpoint_path(checkpoint), err));
	d2v_status status = d2v_config_resolve(config, err);
	return status == D2V_OK ? D2V_OK : d2v_error_prefix(err, "%s", d2v_checkpoint_path(checkpoint));
}

d2v_status d2v_trained_model_open(d2v_trained_model *trained, const char *path, d2v_device *device, d2v_error *err) {
	d2v_checkpoint *checkpoint = NULL;
	*trained = (d2v_trained_model){ .model = NULL };
	D2V_TRY(open_checkpoint(&checkpoint, path, err));
	d2v_status status = read_config(&trained->config, checkpoint, err);
	if (status == D2V_OK)
		status = d2v_model_new(&trained->model, device, &trained->config.model, err);
	if (status == D2V_OK)
		status = d2v_checkpoint_load(checkpoint, trained->model, NULL, err);
	trained->updates = d2v_checkpoint_state(checkpoint)->updates;
	d2v_checkpoint_close(checkpoint);
	if (status != D2V_OK)
		d2v_trained_model_close(trained);
	return status;
}

d2v_status d2v_trained_model_untrained(
	d2v_trained_model *untrained, const d2v_config *config, int64_t seed, d2v_device *device, d2v_error *err) {
	*untrained = (d2v_trained_model){ .config = *config };
	untrained->config.model.seed = seed;
	D2V_TRY(d2v_model_new(&untrained->model, device, &untrained->config.model, err));
	d2v_status status = d2v_model_init(untrained->model, err);
	if (status != D2V_OK)
		d2v_trained_model_close(untrained);
	return status;
}

void d2v_trained_model_close(d2v_trained_model *trained) {
	d2v_model_free(trained->model);
	trained->model = NULL;
}
