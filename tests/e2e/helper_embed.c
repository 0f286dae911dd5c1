// What another program does with the installed library, and with nothing else of the project: recordings become a data
// set, its first record is read, a model takes two updates from it. Prints what it saw.
//     helper_embed SOURCE FOLDER
#include "d2v.h"

#include <stdio.h>

static d2v_status ingest(const char *source, const char *folder, d2v_error *err) {
	d2v_ingest_source from = { .where = source };
	d2v_ingest_options options = D2V_INGEST_DEFAULTS;
	d2v_ingest_result result;
	options.out = folder;
	options.layout = &d2v_layout_librispeech;
	options.sources = &from;
	options.source_count = 1;
	options.quiet = true;
	D2V_TRY(d2v_ingest_run(&options, &result, err));
	printf("records %llu\n", (unsigned long long)result.records);
	return D2V_OK;
}

static d2v_status look(const char *folder, d2v_error *err) {
	d2v_dataset *dataset = NULL;
	d2v_dataset_view *view = NULL;
	d2v_record record;
	d2v_status status = d2v_dataset_open(&dataset, folder, NULL, err);
	if (status == D2V_OK)
		status = d2v_dataset_view_new(&view, dataset, err);
	if (status == D2V_OK)
		status = d2v_dataset_read(view, 0, &record, err);
	if (status == D2V_OK)
		printf("first %.*s %llu\n", (int)record.name_size, record.name, (unsigned long long)record.units);
	d2v_dataset_view_free(view);
	d2v_dataset_close(dataset);
	return status;
}

// Without a data set: batches of noise come through the same interface.
static d2v_status train(const char *folder, d2v_error *err) {
	static d2v_config config;
	static const char *const keys[] = { "optimization.max_update=2", "lr_scheduler.warmup_updates=1", "model.depth=1",
		"model.average_top_k_layers=1", "model.embed_dim=32",
		"model.modalities.audio.feature_encoder_spec=[(16, 10, 5)] + [(16, 8, 8)] * 2" };
	d2v_synthetic_options noise = { .modality = D2V_AUDIO, .seed = 1, .samples = 2, .length = 16000, .clones = 4 };
	d2v_device *device = NULL;
	d2v_source *source = NULL;
	d2v_trainer *trainer = NULL;
	D2V_TRY(d2v_recipe_load(&config, "audio-tiny", keys, sizeof keys / sizeof *keys, err));
	snprintf(config.checkpoint.save_dir, sizeof config.checkpoint.save_dir, "%s/run", folder);
	noise.masks = (d2v_mask_settings){ .mask_prob = 0.5, .mask_length = 5 };
	noise.frames = (d2v_frames_spec){ { { 10, 5 }, { 8, 8 }, { 8, 8 } }, 3 };
	d2v_status status = d2v_device_open(&device, "cpu:1", err);
	if (status == D2V_OK)
		status = d2v_synthetic_source_open(&source, &noise, err);
	if (status == D2V_OK)
		status = d2v_trainer_new(&trainer, &config, device, source, &(d2v_trainer_options){ .quiet = true }, err);
	if (status == D2V_OK)
		status = d2v_trainer_run(trainer, err);
	if (status == D2V_OK)
		printf("updates %llu\n", (unsigned long long)d2v_trainer_state(trainer)->updates);
	d2v_trainer_free(trainer);
	d2v_source_close(source);
	d2v_device_close(device);
	return status;
}

int main(int argc, char **argv) {
	d2v_error err = { 0 };
	if (argc != 3)
		return fprintf(stderr, "usage: helper_embed SOURCE FOLDER\n"), 2;
	d2v_status status = ingest(argv[1], argv[2], &err);
	if (status == D2V_OK)
		status = look(argv[2], &err);
	if (status == D2V_OK)
		status = train(argv[2], &err);
	if (status != D2V_OK)
		fprintf(stderr, "helper_embed: %s\n", err.text);
	printf("version %s\n", D2V_VERSION);
	return d2v_status_exit_code(status);
}
