#include "tools/train_probe.h"

#include "base/memory.h"
#include "base/signals.h"
#include "eval/accuracy.h"
#include "eval/knn.h"
#include "tools/labelled_data.h"

struct train_probe {
	d2v_labelled_data *data;
	d2v_feature_settings settings;
	int64_t k;
};

static d2v_status look(void *context, d2v_model *model, d2v_probe_result *result, d2v_error *err) {
	train_probe *self = context;
	d2v_labelled train, test;
	int32_t *predicted;
	d2v_knn_options options = { .k = self->k };
	D2V_TRY(d2v_labelled_data_features(self->data, model, &self->settings, &train, &test, err));
	D2V_TRY(d2v_alloc(&predicted, (size_t)test.count + 1, sizeof *predicted, err));
	d2v_status status = d2v_knn_classify(&train, &test, &options, predicted, err);
	if (status == D2V_OK) {
		d2v_accuracy accuracy = d2v_accuracy_of(predicted, test.labels, test.count);
		*result = (d2v_probe_result){ accuracy.share, accuracy.low, accuracy.high, accuracy.count };
	}
	d2v_free(predicted);
	return status;
}

d2v_status train_probe_open(
	train_probe **made, const d2v_config *config, d2v_device *device, d2v_probe *probe, d2v_error *err) {
	const d2v_own_config *own = &config->own;
	d2v_labelled_wanted wanted = { .data = own->probe_data[0] ? own->probe_data : config->task.data,
		.seed = (uint64_t)config->common.seed,
		.most = (uint64_t)own->probe_samples,
		.threads = config->dataset.num_workers,
		.stop_asked = d2v_signals_asked,
		.quiet = true };
	*made = NULL;
	if (!own->probe_interval)
		return D2V_OK;
	if (!wanted.data[0])
		return d2v_fail(err, D2V_INVALID, "d2v.probe_interval needs a labelled data set: d2v.probe_data=DIR");
	D2V_TRY(d2v_alloc_zero(made, 1, sizeof **made, err));
	(*made)->k = own->probe_k;
	(*made)->settings = (d2v_feature_settings){
		.teacher = true, .layer = own->probe_layer ? own->probe_layer : D2V_LAYER_MEAN, .pooling = D2V_POOLING_MEAN
	};
	d2v_status status = d2v_labelled_data_open(&(*made)->data, &wanted, config, device, err);
	if (status != D2V_OK) {
		train_probe_close(*made);
		*made = NULL;
		return d2v_error_prefix(err, "%s", own->probe_data[0] ? "d2v.probe_data" : "d2v.probe_interval");
	}
	*probe = (d2v_probe){ .look = look, .context = *made, .interval = (uint64_t)own->probe_interval };
	return D2V_OK;
}

void train_probe_close(train_probe *made) {
	if (!made)
		return;
	d2v_labelled_data_close(made->data);
	d2v_free(made);
}
