#include "tools/ingest_program.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/signals.h"
#include "ingest/decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES_MAX 4096
#define LOGIN_MAX ((size_t)64 << 10)

ingest_common ingest_common_options = { .max_rejected = "1%",
	.retries = 8,
	.max_files = 2 << 20,
	.shard_size = (uint64_t)1 << 30,
	.max_member = (uint64_t)64 << 20,
	.max_download = (uint64_t)64 << 30,
	.retry_delay = 1,
	.stall = 60 };

// ---- sources

d2v_status ingest_job_keep(ingest_job *job, char *text, d2v_error *err) {
	d2v_status status = d2v_reserve(&job->texts, &job->text_capacity, job->text_count + 1, sizeof *job->texts, err);
	if (status == D2V_OK)
		job->texts[job->text_count++] = text;
	else
		d2v_free(text);
	return status;
}

d2v_status ingest_job_add(ingest_job *job, const d2v_ingest_source *source, d2v_error *err) {
	if (job->source_count == SOURCES_MAX)
		return d2v_fail(err, D2V_INVALID, "more than %d sources", SOURCES_MAX);
	D2V_TRY(d2v_reserve(&job->sources, &job->source_capacity, job->source_count + 1, sizeof *job->sources, err));
	job->sources[job->source_count++] = *source;
	return D2V_OK;
}

d2v_status ingest_job_add_text(ingest_job *job, const char *text, const char *split, d2v_error *err) {
	char *where;
	D2V_TRY(d2v_strdup(&where, text, err));
	D2V_TRY(ingest_job_keep(job, where, err));
	d2v_ingest_source source = { .where = where, .split = split };
	char *sum = strstr(where, "#md5=");
	if (sum && strlen(sum) == 37 && strspn(sum + 5, "0123456789abcdef") == 32) {
		*sum = '\0';
		source.md5 = sum + 5;
	}
	return ingest_job_add(job, &source, err);
}

d2v_status ingest_job_add_given(ingest_job *job, const d2v_operands *operands, d2v_error *err) {
	for (size_t i = 0; i < ingest_common_options.from.count; i++)
		D2V_TRY(ingest_job_add_text(job, ingest_common_options.from.items[i], NULL, err));
	for (int i = 0; i < operands->count; i++)
		D2V_TRY(ingest_job_add_text(job, operands->items[i], NULL, err));
	return D2V_OK;
}

static void release(ingest_job *job) {
	d2v_path_rule_free(job->split_rule);
	d2v_path_rule_free(job->label_rule);
	d2v_val_labels_free(job->val_labels);
	d2v_classes_release(&job->classes);
	d2v_free(job->headers);
	for (size_t i = 0; i < job->text_count; i++)
		d2v_free(job->texts[i]);
	d2v_free(job->texts);
	d2v_free(job->sources);
}

// ---- options

static d2v_status parse_rejected(d2v_ingest_options *options, d2v_error *err) {
	char *end;
	const char *text = ingest_common_options.max_rejected;
	options->max_rejected = strtod(text, &end);
	options->max_rejected_is_percent = end > text && *end == '%';
	end += options->max_rejected_is_percent;
	if (end == text || *end || !(options->max_rejected >= 0 && options->max_rejected <= 1e15))
		return d2v_fail(err, D2V_INVALID, "--max-rejected %s: expected a count or a percentage, like 10 or 1%%", text);
	return D2V_OK;
}

static d2v_status keep_archives(ingest_job *job, d2v_error *err) {
	char *folder;
	job->options.keep = ingest_common_options.archives;
	if (job->options.keep || !ingest_common_options.keep_archives)
		return D2V_OK;
	D2V_TRY(d2v_asprintf(&folder, err, "%s/.downloads", job->options.out));
	D2V_TRY(ingest_job_keep(job, folder, err));
	job->options.keep = folder;
	return D2V_OK;
}

// NULL or "folder": by folders when `folders`; "none": not at all; otherwise a rule.
static d2v_status take_rule(const char *option, const char *text, bool *folders, d2v_path_rule **rule, d2v_error *err) {
	if (text && strcmp(text, "folder") == 0)
		*folders = true;
	else if (text)
		*folders = false;
	if (!text || strcmp(text, "folder") == 0 || strcmp(text, "none") == 0)
		return D2V_OK;
	return d2v_path_rule_new(rule, option, text, err);
}

d2v_status ingest_job_split_by(ingest_job *job, const char *text, bool folders, d2v_error *err) {
	D2V_TRY(take_rule("--split-by", text, &folders, &job->split_rule, err));
	job->options.places.split_folders = folders;
	job->options.places.split_rule = job->split_rule;
	return D2V_OK;
}

d2v_status ingest_job_label_by(ingest_job *job, const char *text, bool folders, d2v_error *err) {
	D2V_TRY(take_rule("--label-by", text, &folders, &job->label_rule, err));
	job->options.places.label_folders = folders;
	job->options.places.label_rule = job->label_rule;
	return D2V_OK;
}

d2v_status ingest_job_classes(ingest_job *job, const char *path, d2v_error *err) {
	if (!path)
		return D2V_OK;
	D2V_TRY(d2v_classes_load(&job->classes, path, err));
	job->options.classes = &job->classes;
	return D2V_OK;
}

// ---- logins

static d2v_status add_header(ingest_job *job, const char *option, const char *name, const char *value, d2v_error *err) {
	char *line;
	size_t count = job->options.login_count;
	D2V_TRY(d2v_asprintf(&line, err, "%s%s", name, value));
	D2V_TRY(ingest_job_keep(job, line, err));
	if (strpbrk(line, "\r\n") || !strchr(line, ':') || strcspn(line, ":") != strcspn(line, ": \t"))
		return d2v_fail(err, D2V_INVALID, "%s: no header: expected 'Name: value' on one line", option);
	D2V_TRY(d2v_reserve(&job->headers, &job->header_capacity, count + 1, sizeof *job->headers, err));
	job->headers[count] = line;
	job->options.login = job->headers;
	job->options.login_count = count + 1;
	return D2V_OK;
}

// One a line, from a file.
static d2v_status add_lines(ingest_job *job, const char *option, const char *name, const char *path, d2v_error *err) {
	void *bytes;
	size_t size;
	D2V_TRY(d2v_file_read(path, LOGIN_MAX, &bytes, &size, err));
	D2V_TRY(ingest_job_keep(job, bytes, err));
	char *rest = bytes, *line;
	while ((line = strsep(&rest, "\r\n")))
		if (line[0])
			D2V_TRY(add_header(job, option, name, line, err));
	return D2V_OK;
}

// given: the option's value; environment: the variable that stands in for it.
static d2v_status take_login(
	ingest_job *job, const char *option, const char *given, const char *environment, const char *name, d2v_error *err) {
	const char *value = given ? given : getenv(environment);
	if (!value || !value[0])
		return D2V_OK;
	return value[0] == '@' ? add_lines(job, option, name, value + 1, err) : add_header(job, option, name, value, err);
}

static bool takes_logins(const d2v_command *command) {
	for (const d2v_option *row = command->options; row->name; row++)
		if (strcmp(row->name, "token") == 0)
			return true;
	return false;
}

static d2v_status take_logins(ingest_job *job, const d2v_command *command, d2v_error *err) {
	const ingest_common *given = &ingest_common_options;
	if (!takes_logins(command))
		return D2V_OK;
	D2V_TRY(take_login(job, "--header", given->header, "D2V_HEADER", "", err));
	D2V_TRY(take_login(job, "--cookie", given->cookie, "D2V_COOKIE", "Cookie: ", err));
	return take_login(job, "--token", given->token, "D2V_TOKEN", "Authorization: Bearer ", err);
}

// What was copied is wiped where `ps` shows it.
static void hide_logins(int argc, char **argv) {
	static const char *const options[] = { "--header", "--cookie", "--token" };
	for (int i = 1; i < argc; i++)
		for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
			size_t length = strlen(options[k]);
			if (strncmp(argv[i], options[k], length) != 0)
				continue;
			if (argv[i][length] == '=')
				memset(argv[i] + length + 1, 'x', strlen(argv[i] + length + 1));
			else if (!argv[i][length] && i + 1 < argc)
				memset(argv[i + 1], 'x', strlen(argv[i + 1]));
		}
}

// ---- all that is common

static d2v_status fill_common(ingest_job *job, const d2v_command *command, d2v_error *err) {
	const ingest_common *given = &ingest_common_options;
	d2v_ingest_options *options = &job->options;
	*options = D2V_INGEST_DEFAULTS;
	if (!given->out || !given->out[0])
		return d2v_fail(err, D2V_INVALID, "--out DIR is missing; see d2v-ingest %s --help", command->name);
	if (given->split && !d2v_layout_is_split_name(given->split))
		return d2v_fail(err, D2V_INVALID, "--split %s: expected letters, digits, '-', '_' and '.'", given->split);
	options->out = given->out;
	if (given->split)
		options->places.split = given->split;
	options->shard_size = given->shard_size;
	options->max_member = given->max_member;
	options->max_files = (uint64_t)given->max_files;
	options->jobs = d2v_option_jobs(given->jobs);
	options->quiet = given->quiet;
	options->download.max = given->max_download;
	options->download.retries = (int)given->retries;
	options->download.retry_delay = given->retry_delay;
	options->download.stall = given->stall;
	D2V_TRY(take_logins(job, command, err));
	D2V_TRY(keep_archives(job, err));
	return parse_rejected(options, err);
}

// ---- the last words

static json_t *facts_of(const d2v_ingest_options *options, const d2v_ingest_result *result) {
	char digest[17];
	snprintf(digest, sizeof digest, "%016llx", (unsigned long long)result->digest);
	return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s}", "out", options->out,
		"was_complete", result->was_complete, "records", (json_int_t)result->records, "rejected",
		(json_int_t)result->rejected, "without_text", (json_int_t)result->without_text, "without_class",
		(json_int_t)result->unlabelled, "classes", (json_int_t)result->classes, "ignored", (json_int_t)result->ignored,
		"shards", (json_int_t)result->shards, "bytes", (json_int_t)result->bytes, "seconds", result->seconds, "digest",
		digest);
}

static d2v_status set_text_facts(json_t *facts, const d2v_ingest_result *result, d2v_error *err) {
	D2V_TRY(d2v_json_set_u64(facts, "tokens", result->units, err));
	D2V_TRY(d2v_json_set_u64(facts, "documents", result->documents, err));
	return d2v_json_set_u64(facts, "empty_documents", result->empty, err);
}

static d2v_status print_json(const d2v_ingest_options *options, const d2v_ingest_result *result, d2v_error *err) {
	char *text = NULL;
	json_t *facts = facts_of(options, result);
	d2v_status status = facts ? D2V_OK : d2v_fail(err, D2V_NO_MEMORY, "out of memory");
	if (status == D2V_OK && options->layout->decoder->modality == D2V_AUDIO) {
		double new_seconds = (double)result->new_units / options->rate;
		status = d2v_json_set(facts, "hours", json_real((double)result->units / options->rate / 3600), err);
		if (status == D2V_OK)
			status = d2v_json_set(
				facts, "times_real_time", json_real(result->seconds > 0 ? new_seconds / result->seconds : 0.0), err);
	}
	if (status == D2V_OK && options->layout->decoder->modality == D2V_TEXT)
		status = set_text_facts(facts, result, err);
	if (status == D2V_OK)
		status = d2v_json_text(facts, &text, err);
	json_decref(facts);
	D2V_TRY(status);
	fputs(text, stdout);
	d2v_free(text);
	return D2V_OK;
}

static void print_text(const d2v_ingest_options *options, const d2v_ingest_result *result) {
	const d2v_decoder *decoder = options->layout->decoder;
	char records[D2V_PROGRESS_TEXT], bytes[D2V_PROGRESS_TEXT], took[D2V_PROGRESS_TEXT], hours[64] = "", texts[128] = "",
																						classes[64] = "", pace[64] = "";
	if (decoder->modality == D2V_AUDIO) {
		double new_seconds = (double)result->new_units / options->rate;
		snprintf(hours, sizeof hours, "%.2f h, ", (double)result->units / options->rate / 3600);
		snprintf(texts, sizeof texts, "%llu without text, ", (unsigned long long)result->without_text);
		snprintf(pace, sizeof pace, ", %.0fx real time", result->seconds > 0 ? new_seconds / result->seconds : 0);
	} else if (decoder->modality == D2V_TEXT) {
		snprintf(hours, sizeof hours, "%llu document%s, %s tokens, ", (unsigned long long)result->documents,
			result->documents == 1 ? "" : "s", d2v_progress_count(result->units, took));
		snprintf(texts, sizeof texts, "%llu empty, ", (unsigned long long)result->empty);
		snprintf(pace, sizeof pace, ", %s/s of text",
			d2v_progress_bytes(result->seconds > 0 ? (double)result->new_text_bytes / result->seconds : 0, took));
	} else
		snprintf(pace, sizeof pace, ", %.0f %s/s",
			result->seconds > 0 ? (double)result->new_records / result->seconds : 0, decoder->records);
	if (result->classes)
		snprintf(classes, sizeof classes, " of %llu classes", (unsigned long long)result->classes);
	if (result->unlabelled)
		snprintf(texts + strlen(texts), sizeof texts - strlen(texts), "%llu without a class, ",
			(unsigned long long)result->unlabelled);
	printf("%s: %s %s%s, %s%s in %llu shard%s, digest %016llx\n", options->out,
		d2v_progress_count(result->records, records),
		result->records != 1            ? decoder->records
		: decoder->modality == D2V_TEXT ? "block of text"
										: decoder->record,
		classes, hours, d2v_progress_bytes((double)result->bytes, bytes), (unsigned long long)result->shards,
		result->shards == 1 ? "" : "s", (unsigned long long)result->digest);
	if (result->was_complete)
		printf("it was complete already: nothing to do\n");
	else
		printf("%llu rejected, %s%llu other files; took %s%s\n", (unsigned long long)result->rejected, texts,
			(unsigned long long)result->ignored, d2v_progress_duration(result->seconds, took), pace);
}

static void warn(const d2v_ingest_options *options, const d2v_ingest_result *result) {
	if (!result->was_complete && result->without_text && options->places.texts &&
		options->layout == &d2v_layout_librispeech)
		d2v_warn("%llu of %llu recordings have no transcript", (unsigned long long)result->without_text,
			(unsigned long long)result->records);
	if (!result->was_complete && options->places.split_rule && result->splits == 1)
		d2v_warn("all %s are in one split: --split-by matches no path, or all in the same way",
			options->layout->decoder->records);
}

static void warn_of_classes(const d2v_ingest_options *options, const d2v_ingest_result *result) {
	bool is_imagenet = options->layout == &d2v_layout_imagenet;
	if (result->was_complete || !options->layout->has_classes || !options->layout->has_classes(&options->places))
		return;
	if (is_imagenet && !options->places.val_labels && (!result->classes || result->unlabelled))
		d2v_warn("pictures without a class: those of the validation set get theirs from --val-labels FILE");
	else if (!result->classes && options->places.label_rule)
		d2v_warn("no class was found: --label-by matches no path, or all have the same");
	else if (result->unlabelled)
		d2v_warn("%llu of %llu %s have no class: what their paths name is nothing, or not in the list%s",
			(unsigned long long)result->unlabelled, (unsigned long long)result->records,
			options->layout->decoder->records,
			is_imagenet ? ", which is that of the train set; --synset-words FILE gives all" : "");
}

static d2v_status run(ingest_job *job, d2v_error *err) {
	d2v_ingest_result result;
	job->options.sources = job->sources;
	job->options.source_count = job->source_count;
	d2v_signals_install();
	D2V_TRY(d2v_ingest_run(&job->options, &result, err));
	warn(&job->options, &result);
	warn_of_classes(&job->options, &result);
	if (ingest_common_options.json)
		D2V_TRY(print_json(&job->options, &result, err));
	else
		print_text(&job->options, &result);
	return job->check ? job->check(&job->options, err) : D2V_OK;
}

// What a command of this program is, for the function that d2v_options_run calls.
static struct {
	const d2v_command *command;
	ingest_fill *fill;
	int argc;
	char **argv;
} called;

static d2v_status run_called(const d2v_operands *operands, d2v_error *err) {
	ingest_job job = { 0 };
	d2v_status status = fill_common(&job, called.command, err);
	hide_logins(called.argc, called.argv);
	if (status == D2V_OK)
		status = called.fill(&job, operands, err);
	if (status == D2V_OK)
		status = run(&job, err);
	release(&job);
	return status;
}

int ingest_main(const d2v_command *command, int argc, char **argv, ingest_fill *fill) {
	called.command = command;
	called.fill = fill;
	called.argc = argc;
	called.argv = argv;
	d2v_log_set_program("d2v-ingest");
	return d2v_options_run(command, argc, argv, run_called);
}
