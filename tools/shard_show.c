#include "tools/shard_show.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/progress.h"
#include "shards/codec.h"
#include "shards/payload_file.h"
#include "tools/shard_output.h"
#include "tools/shard_selection.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct {
	const char *split, *out;
	bool force, json;
} given;

static d2v_option rows[] = {
	{ .name = "split",
		.letter = 's',
		.kind = D2V_OPTION_TEXT,
		.into = &given.split,
		.value = "NAME[,NAME...]",
		.help = "count and search in these splits only (default: all)" },
	{ .name = "out",
		.letter = 'o',
		.kind = D2V_OPTION_TEXT,
		.into = &given.out,
		.value = "FILE",
		.help = "write the payload to FILE, whose ending says how: .wav or .flac for sound, .raw for the bytes as "
				"they are stored" },
	{ .name = "force", .kind = D2V_OPTION_FLAG, .into = &given.force, .help = "replace FILE when it is there" },
	{ .name = "json", .kind = D2V_OPTION_FLAG, .into = &given.json, .help = "print JSON" },
	{ 0 },
};

const d2v_command shard_show_command = {
	.program = "d2v-shard",
	.name = "show",
	.operands = "DATASET RECORD",
	.summary = "print a record's facts, write its payload to a file",
	.detail =
		"RECORD is an ordinal as 'ls' prints it (counted from 0 over the chosen splits), a name, or FILE:ORDINAL as "
		"'verify' names damage.",
	.examples = "d2v-shard show data/librispeech 17\n    facts and transcript of record 17\n"
				"d2v-shard show data/librispeech 1034-121119-0000 --out heard.wav\n    write it as a WAV file\n"
				"d2v-shard show data/librispeech train-clean-100/00003.mdb:17 --json\n    for another program\n",
	.options = rows,
	.operands_min = 2,
	.operands_max = 2,
};

typedef struct shown {
	uint64_t ordinal, count;
	d2v_dataset_place place;
	const d2v_manifest *manifest;
	d2v_record record;
	double peak, loudness; // sound, in dB of full scale; NaN: not known
} shown;

static double decibels(double of_full_scale) {
	return of_full_scale > 0 ? 20 * log10(of_full_scale) : -INFINITY;
}

static d2v_status measure_sound(shown *self, d2v_error *err) {
	int16_t *samples;
	double sum = 0, peak = 0;
	self->peak = self->loudness = NAN;
	if (self->manifest->modality != D2V_AUDIO || !self->record.units || self->record.units > UINT32_MAX)
		return D2V_OK;
	D2V_TRY(d2v_alloc(&samples, self->record.units, sizeof *samples, err));
	d2v_status status = d2v_codec_audio_read(&self->record, 0, self->record.units, samples, err);
	for (uint64_t i = 0; status == D2V_OK && i < self->record.units; i++) {
		double value = samples[i] / 32768.0;
		sum += value * value;
		peak = fmax(peak, fabs(value));
	}
	d2v_free(samples);
	self->peak = decibels(peak);
	self->loudness = decibels(sqrt(sum / (double)self->record.units));
	return status;
}

static d2v_status print_json(const shown *self, d2v_error *err) {
	const d2v_record *record = &self->record;
	char digest[17];
	d2v_hash64_hex(record->digest, digest);
	json_t *facts = json_pack("{s:I, s:s, s:s, s:I, s:s, s:o, s:o, s:I, s:I, s:s}", "record", (json_int_t)self->ordinal,
		"split", self->place.split->name, "shard", self->place.file, "shard_record", (json_int_t)self->place.ordinal,
		"codec", d2v_codec_name((d2v_codec)record->codec), "name",
		shard_output_json_text(record->name, record->name_size), "text",
		shard_output_json_text(record->text, record->text_size), "bytes", (json_int_t)record->payload_size, "units",
		(json_int_t)record->units, "digest", digest);
	if (facts && record->label != D2V_RECORD_NO_LABEL)
		json_object_set_new(facts, "label", json_integer(record->label));
	if (facts && record->label >= 0 && (size_t)record->label < self->manifest->class_count)
		json_object_set_new(facts, "class", json_string(self->manifest->classes[record->label].name));
	if (facts && self->manifest->modality == D2V_AUDIO) {
		json_object_set_new(facts, "rate", json_integer(record->rate));
		json_object_set_new(facts, "seconds", json_real(record->rate ? (double)record->units / record->rate : 0));
		if (isfinite(self->peak))
			json_object_set_new(facts, "peak_db", json_real(self->peak));
		if (isfinite(self->loudness))
			json_object_set_new(facts, "rms_db", json_real(self->loudness));
	}
	if (facts && self->manifest->modality == D2V_IMAGE) {
		json_object_set_new(facts, "width", json_integer(record->rate));
		json_object_set_new(facts, "height", json_integer(record->rows));
	}
	if (facts && self->manifest->modality == D2V_TEXT)
		json_object_set_new(facts, "documents", json_integer(record->rows));
	return shard_output_json(facts, err);
}

static void print_row(const char *name) {
	printf("%-9s ", name);
}

static void print_length(const shown *self) {
	char length[SHARD_OUTPUT_LENGTH], units[D2V_PROGRESS_TEXT], rate[D2V_PROGRESS_TEXT];
	const d2v_record *record = &self->record;
	print_row("length");
	fputs(shard_output_length(record, self->manifest->modality, record->rate, length), stdout);
	if (self->manifest->modality == D2V_AUDIO)
		printf(
			" (%s samples at %s Hz)", d2v_progress_count(record->units, units), d2v_progress_count(record->rate, rate));
	if (self->manifest->modality == D2V_TEXT)
		printf(", in which %u documents end", record->rows);
	putchar('\n');
}

static void print_text(const shown *self) {
	const d2v_record *record = &self->record;
	char digest[17], bytes[D2V_PROGRESS_TEXT], meaning[SHARD_SELECTION_LABEL];
	d2v_hash64_hex(record->digest, digest);
	print_row("record");
	printf("%llu of %llu (%s:%llu)\n", (unsigned long long)self->ordinal, (unsigned long long)self->count,
		self->place.file, (unsigned long long)self->place.ordinal);
	print_row("name");
	shard_output_text(record->name, record->name_size, SIZE_MAX);
	putchar('\n');
	print_length(self);
	print_row("stored");
	printf("%s, %s bytes, digest %s\n", d2v_codec_name((d2v_codec)record->codec),
		d2v_progress_count(record->payload_size, bytes), digest);
	if (!isnan(self->peak)) {
		print_row("level");
		printf("peak %.1f dB, mean %.1f dB\n", self->peak, self->loudness);
	}
	if (record->label != D2V_RECORD_NO_LABEL) {
		print_row(self->manifest->class_count ? "class" : "label");
		puts(shard_selection_label(self->manifest, record->label, meaning));
	}
	if (record->text_size) {
		print_row("text");
		shard_output_text(record->text, record->text_size, SIZE_MAX);
		putchar('\n');
	}
}

static d2v_status write_payload(const shown *self, const char *path, d2v_error *err) {
	d2v_payload_file file;
	char bytes[D2V_PROGRESS_TEXT];
	const char *dot = strrchr(d2v_path_name(path), '.');
	if (!given.force && d2v_file_exists(path))
		return d2v_fail(err, D2V_EXISTS, "%s: is there already; --force replaces it", path);
	if (!dot)
		return d2v_fail(err, D2V_INVALID, "--out %s: has no ending; it says what to write: x.%s, for example", path,
			d2v_payload_file_ending(&self->record));
	D2V_TRY(d2v_payload_file_make(&file, &self->record, dot + 1, err));
	d2v_status status = d2v_file_replace(path, file.bytes, file.size, err);
	if (status == D2V_OK && !given.json) {
		print_row("written");
		printf("%s, %s\n", path, d2v_progress_bytes((double)file.size, bytes));
	}
	d2v_payload_file_release(&file);
	return status;
}

static d2v_status show_record(shown *self, d2v_dataset_view *view, d2v_error *err) {
	D2V_TRY(d2v_dataset_read(view, self->ordinal, &self->record, err));
	D2V_TRY(measure_sound(self, err));
	if (given.json)
		D2V_TRY(print_json(self, err));
	else
		print_text(self);
	return given.out ? write_payload(self, given.out, err) : D2V_OK;
}

static d2v_status show(const char *path, const char *name, d2v_error *err) {
	d2v_dataset *dataset;
	d2v_dataset_view *view = NULL;
	shown self = { 0 };
	D2V_TRY(shard_selection_open(&dataset, path, given.split, err));
	d2v_status status = d2v_dataset_view_new(&view, dataset, err);
	if (status == D2V_OK)
		status = shard_selection_find(view, dataset, name, &self.ordinal, err);
	if (status == D2V_OK) {
		self.manifest = d2v_dataset_manifest(dataset);
		self.count = d2v_dataset_records(dataset);
		self.place = d2v_dataset_place_of(dataset, self.ordinal);
		status = show_record(&self, view, err);
	}
	d2v_dataset_view_free(view);
	d2v_dataset_close(dataset);
	return status;
}

int shard_show_run(const d2v_command *command, int argc, char **argv) {
	d2v_operands operands = { 0 };
	d2v_error err = { 0 };
	d2v_status status = d2v_options_parse(command, argc, argv, &operands, &err);
	if (status == D2V_OK && !operands.help)
		status = show(operands.items[0], operands.items[1], &err);
	d2v_options_release(&operands);
	return shard_output_end(status, &err);
}
