// What a data set holds, through the library alone, so that tests of one program do not depend on another.
//     helper_records list FOLDER [SPLIT]   a line per record: its number, name, samples, label, text, separated by tabs
//     helper_records sums FOLDER [SPLIT]   a line per record: its name, label, codec, width x height, SHA-256 of
//     payload helper_records samples FOLDER N      the samples of record N as raw 16-bit little-endian numbers
//     helper_records verify FOLDER         checks and decodes everything, names each damage
#include "base/hash.h"
#include "base/memory.h"
#include "shards/codec_audio.h"
#include "shards/dataset.h"
#include "shards/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static d2v_status print_record(const d2v_record *record, uint64_t number) {
	printf("%" PRIu64 "\t%.*s\t%" PRIu64 "\t%d\t%.*s\n", number, (int)record->name_size, record->name, record->units,
		(int)record->label, (int)record->text_size, (const char *)record->text);
	return D2V_OK;
}

static d2v_status print_sum(const d2v_record *record, d2v_error *err) {
	d2v_checksum *sum;
	char hex[D2V_HASH_HEX];
	D2V_TRY(d2v_checksum_new(&sum, D2V_SHA256, err));
	d2v_status status = d2v_checksum_add(sum, record->payload, record->payload_size, err);
	if (status == D2V_OK)
		status = d2v_checksum_hex(sum, hex, err);
	if (status == D2V_OK)
		printf("%.*s\t%d\t%s\t%ux%u\t%s\n", (int)record->name_size, record->name, (int)record->label,
			d2v_codec_name((d2v_codec)record->codec), record->rate, record->rows, hex);
	d2v_checksum_free(sum);
	return status;
}

static d2v_status write_samples(const d2v_record *record, d2v_error *err) {
	int16_t *samples;
	D2V_TRY(d2v_alloc(&samples, record->units + 1, sizeof *samples, err));
	d2v_status status = d2v_codec_audio_read(record, 0, record->units, samples, err);
	if (status == D2V_OK && fwrite(samples, sizeof *samples, record->units, stdout) != record->units)
		status = d2v_fail_errno(err, "standard output");
	d2v_free(samples);
	return status;
}

static d2v_status read_records(const char *folder, const char *split, const char *number, bool sums, d2v_error *err) {
	d2v_dataset *dataset = NULL;
	d2v_dataset_view *view = NULL;
	d2v_record record;
	d2v_status status = d2v_dataset_open(&dataset, folder, split, err);
	if (status == D2V_OK)
		status = d2v_dataset_view_new(&view, dataset, err);
	uint64_t from = number ? strtoull(number, NULL, 10) : 0, to = status == D2V_OK ? d2v_dataset_records(dataset) : 0;
	for (uint64_t i = from; status == D2V_OK && i < (number ? from + 1 : to); i++) {
		status = d2v_dataset_read(view, i, &record, err);
		if (status == D2V_OK)
			status = number ? write_samples(&record, err) : sums ? print_sum(&record, err) : print_record(&record, i);
	}
	d2v_dataset_view_free(view);
	d2v_dataset_close(dataset);
	return status;
}

static void found(void *context, const char *file, uint64_t record, const char *what) {
	(void)context;
	fprintf(stderr, "%s: record %" PRId64 ": %s\n", file, (int64_t)record, what);
}

int main(int argc, char **argv) {
	d2v_error err;
	d2v_status status = D2V_INVALID;
	snprintf(err.text, sizeof err.text, "usage: helper_records list|sums|samples|verify FOLDER [SPLIT|N]");
	bool sums = argc > 1 && strcmp(argv[1], "sums") == 0;
	if (argc >= 3 && argc <= 4 && (sums || strcmp(argv[1], "list") == 0))
		status = read_records(argv[2], argv[3], NULL, sums, &err);
	else if (argc == 4 && strcmp(argv[1], "samples") == 0)
		status = read_records(argv[2], NULL, argv[3], false, &err);
	else if (argc == 3 && strcmp(argv[1], "verify") == 0)
		status = d2v_verify_dataset(argv[2], &(d2v_verify_options){ .jobs = 2, .decode = true, .found = found },
			&(d2v_verify_result){ 0 }, &err);
	if (status != D2V_OK)
		fprintf(stderr, "helper_records: %s\n", err.text);
	return d2v_status_exit_code(status);
}
