#include "tools/shard_show.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "shards/codec_audio.h"
#include "tools/option_rows.h"
#include "tools/shard_content.h"
#include "tools/shard_output.h"
#include "tools/shard_selection.h"
#include "tools/shard_spectrogram.h"
#include "tools/shard_terminal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOKENS_SHOWN 300
#define SPECTROGRAM_ROWS 40 // of pixels

static struct {
	const char *split, *out;
	int draw;
	bool force, json;
} given;

static d2v_option rows[] = {
	D2V_ROW_SPLIT(given.split, "count and search in these splits only (default: all)"),
	D2V_ROW_OUT(given.out, "FILE",
		"write the content to FILE, whose ending says how: .wav or .flac for sound, .png for pictures and for a "
		"spectrogram of sound, .jpg for pictures stored so, .txt for text, .raw for the bytes as they are stored"),
	{ .name = "draw",
		.kind = D2V_OPTION_CHOICE,
		.into = &given.draw,
		.choices = "auto|always|never",
		.help =
			"draw a picture or a spectrogram: auto (default) when standard output is a terminal with 24-bit colours" },
	{ .name = "force", .kind = D2V_OPTION_FLAG, .into = &given.force, .help = "replace FILE when it is there" },
	D2V_ROW_JSON(given.json, "print JSON"),
	{ 0 },
};

const d2v_command shard_show_command = {
	.program = "d2v-shard",
	.name = "show",
	.operands = "DATASET RECORD",
	.summary = "print a record's facts, draw it, write its content to a file",
	.detail =
		"RECORD is an ordinal as 'ls' prints it (counted from 0 over the chosen splits), a name, or FILE:ORDINAL as "
		"'verify' names damage.",
	.examples = "d2v-shard show data/librispeech 17\n    facts and transcript of record 17\n"
				"d2v-shard show data/librispeech 1034-121119-0000 --out heard.wav\n    write it as a WAV file\n"
				"d2v-shard show data/imagenet 5 --out five.png\n    a picture, whatever it is stored as\n"
				"d2v-shard show data/librispeech train-clean-100/00003.mdb:17 --json\n    for another program\n",
	.options = rows,
	.operands_min = 2,
	.operands_max = 2,
};

typedef struct shown {
	const char *dataset; // its path
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
		print_row(self->manifest->modality == D2V_TEXT ? "from" : "text");
		shard_output_text(record->text, record->text_size, SIZE_MAX);
		putchar('\n');
	}
}

// The beginning of a block of tokens. A data set without its tokenizer is no reason to show nothing.
static d2v_status print_tokens(const shown *self, d2v_error *err) {
	d2v_error own = { 0 };
	char *text, bytes[D2V_PROGRESS_TEXT];
	size_t size;
	if (given.json || self->manifest->modality != D2V_TEXT)
		return D2V_OK;
	d2v_status status = shard_content_text(self->dataset, &self->record, TOKENS_SHOWN, &text, &size, &own);
	if (status == D2V_NOT_FOUND) {
		d2v_warn("%s", own.text);
		return D2V_OK;
	}
	if (status != D2V_OK)
		return d2v_fail(err, status, "%s", own.text);
	putchar('\n');
	for (size_t at = 0, length; at < size; at += length + 1) {
		const char *end = memchr(text + at, '\n', size - at);
		length = end ? (size_t)(end - text) - at : size - at;
		shard_output_text(text + at, length, SIZE_MAX);
		putchar('\n');
	}
	if (self->record.units > TOKENS_SHOWN)
		printf("... and %s tokens more; --out FILE.txt writes all\n",
			d2v_progress_count(self->record.units - TOKENS_SHOWN, bytes));
	d2v_free(text);
	return D2V_OK;
}

static d2v_status draw(const shown *self, d2v_error *err) {
	shard_picture picture;
	uint32_t width, height;
	bool wanted = given.draw == 1 || (given.draw == 0 && shard_terminal_can_draw());
	if (given.json || !wanted || self->manifest->modality == D2V_TEXT)
		return D2V_OK;
	shard_terminal_room(&width, &height);
	D2V_TRY(self->manifest->modality == D2V_AUDIO
				? shard_spectrogram_of_record(&self->record, width, SPECTROGRAM_ROWS, &picture, err)
				: shard_picture_of_record(&picture, &self->record, err));
	d2v_status status = shard_terminal_draw(&picture, err);
	shard_picture_release(&picture);
	return status;
}

static d2v_status write_content(const shown *self, d2v_error *err) {
	size_t size;
	char bytes[D2V_PROGRESS_TEXT];
	D2V_TRY(shard_content_write(self->dataset, &self->record, given.out, given.force, &size, err));
	if (!given.json) {
		print_row("written");
		printf("%s, %s\n", given.out, d2v_progress_bytes((double)size, bytes));
	}
	return D2V_OK;
}

// What of a record can be damaged although its digest is right does not name the record.
static d2v_status show_content(const shown *self, d2v_error *err) {
	D2V_TRY(draw(self, err));
	D2V_TRY(print_tokens(self, err));
	return given.out ? write_content(self, err) : D2V_OK;
}

static d2v_status show_record(shown *self, d2v_dataset_view *view, d2v_error *err) {
	D2V_TRY(d2v_dataset_read(view, self->ordinal, &self->record, err));
	D2V_TRY(measure_sound(self, err));
	if (given.json)
		D2V_TRY(print_json(self, err));
	else
		print_text(self);
	return show_content(self, err);
}

static d2v_status show(const d2v_operands *operands, d2v_error *err) {
	const char *path = operands->items[0], *name = operands->items[1];
	d2v_dataset *dataset;
	d2v_dataset_view *view = NULL;
	shown self = { .dataset = path };
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
	return d2v_options_run(command, argc, argv, show);
}
