#include "loaders/bench.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/progress.h"

#include <sys/resource.h>

static double cpu_seconds(void) {
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		   1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static uint64_t peak_rss(void) {
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)usage.ru_maxrss * 1024;
}

// Anonymous memory: what the process itself needs, without the pages of files that the kernel takes back when it likes.
static uint64_t own_memory(void) {
	FILE *status = fopen("/proc/self/status", "r");
	char line[256];
	unsigned long long kibibytes = 0;
	while (status && fgets(line, sizeof line, status))
		if (sscanf(line, "RssAnon: %llu kB", &kibibytes) == 1)
			break;
	if (status)
		fclose(status);
	return kibibytes * 1024;
}

static uint64_t tokens_of(const d2v_batch *batch) {
	uint64_t tokens = 0;
	if (!batch->text)
		return 0;
	for (int32_t b = 0; b < batch->samples; b++)
		tokens += (uint64_t)(batch->valid ? batch->valid[b] : batch->tokens);
	return tokens;
}

static d2v_status take_batches(d2v_source *source, const d2v_bench_options *options, uint64_t count, uint64_t before,
	uint64_t total, d2v_bench_result *result, d2v_error *err) {
	const d2v_batch *batch;
	for (uint64_t i = 0; i < count; i++) {
		D2V_TRY(d2v_source_next(source, &batch, err));
		result->digest = d2v_hash64_chain(result->digest, batch->digest);
		result->modality = batch->modality;
		result->tokens += tokens_of(batch);
		d2v_source_give(source, batch);
		if (options->progress && !options->progress(options->context, before + i + 1, total))
			return d2v_fail(
				err, D2V_INTERRUPTED, "interrupted after %llu batches", (unsigned long long)(before + i + 1));
	}
	return D2V_OK;
}

static void subtract(d2v_bench_result *result, const d2v_source_stats *from, const d2v_source_stats *to) {
	result->batches = to->batches - from->batches;
	result->samples = to->samples - from->samples;
	result->bytes = to->bytes - from->bytes;
	result->audio_seconds = to->seconds_of_audio - from->seconds_of_audio;
	result->waited = to->waited - from->waited;
	result->padding = to->padding;
	result->damaged = to->damaged;
	for (int i = 0; i < D2V_SOURCE_STAGES && to->stage_name[i]; i++) {
		result->stage_name[i] = to->stage_name[i];
		result->stage_seconds[i] = to->stage_seconds[i] - from->stage_seconds[i];
	}
}

static d2v_status measure(
	d2v_source *source, const d2v_bench_options *options, d2v_bench_result *result, d2v_error *err) {
	uint64_t batches = options->batches ? options->batches : result->epoch_batches, total = options->skip + batches;
	D2V_TRY(take_batches(source, options, options->skip, 0, total, result, err));
	result->tokens = 0;
	d2v_source_stats before = d2v_source_statistics(source);
	double start = d2v_clock(), cpu = cpu_seconds();
	D2V_TRY(take_batches(source, options, batches, options->skip, total, result, err));
	result->seconds = d2v_clock() - start;
	result->cpu_seconds = cpu_seconds() - cpu;
	d2v_source_stats after = d2v_source_statistics(source);
	subtract(result, &before, &after);
	result->peak_rss = peak_rss();
	result->own_memory = own_memory();
	return D2V_OK;
}

d2v_status d2v_bench_run(
	d2v_source *source, const d2v_bench_options *options, d2v_bench_result *result, d2v_error *err) {
	*result = (d2v_bench_result){ .threads = options->threads ? options->threads : 1 };
	result->epoch_batches = d2v_source_epoch_steps(source, 1);
	return measure(source, options, result, err);
}

static double per(double amount, double seconds) {
	return seconds > 0 ? amount / seconds : 0;
}

double d2v_bench_real_time(const d2v_bench_result *result) {
	return per(result->audio_seconds, result->seconds);
}

double d2v_bench_real_time_per_core(const d2v_bench_result *result) {
	return per(result->audio_seconds, result->cpu_seconds);
}

static const char *noun(const d2v_bench_result *result) {
	return result->modality == D2V_IMAGE ? "pictures" : result->modality == D2V_TEXT ? "blocks" : "utterances";
}

static d2v_status set_speech(const d2v_bench_result *r, json_t *object, d2v_error *err) {
	D2V_TRY(d2v_json_set(object, "hours_of_speech", json_real(r->audio_seconds / 3600), err));
	D2V_TRY(d2v_json_set(object, "hours_per_second", json_real(per(r->audio_seconds / 3600, r->seconds)), err));
	D2V_TRY(d2v_json_set(object, "real_time", json_real(d2v_bench_real_time(r)), err));
	return d2v_json_set(object, "real_time_per_core", json_real(d2v_bench_real_time_per_core(r)), err);
}

static d2v_status set_pictures(const d2v_bench_result *r, json_t *object, d2v_error *err) {
	double pictures = (double)r->samples;
	D2V_TRY(d2v_json_set(object, "pictures_per_second", json_real(per(pictures, r->seconds)), err));
	return d2v_json_set(object, "pictures_per_second_per_core", json_real(per(pictures, r->cpu_seconds)), err);
}

static d2v_status set_text(const d2v_bench_result *r, json_t *object, d2v_error *err) {
	double tokens = (double)r->tokens;
	D2V_TRY(d2v_json_set_u64(object, "tokens", r->tokens, err));
	D2V_TRY(d2v_json_set(object, "tokens_per_second", json_real(per(tokens, r->seconds)), err));
	return d2v_json_set(object, "tokens_per_second_per_core", json_real(per(tokens, r->cpu_seconds)), err);
}

static d2v_status set_rates(const d2v_bench_result *r, json_t *object, d2v_error *err) {
	switch (r->modality) {
	case D2V_IMAGE:
		return set_pictures(r, object, err);
	case D2V_TEXT:
		return set_text(r, object, err);
	default:
		return set_speech(r, object, err);
	}
}

static d2v_status fill_json(const d2v_bench_result *r, json_t *object, d2v_error *err) {
	D2V_TRY(d2v_json_set(object, "modality", json_string(d2v_modality_name(r->modality)), err));
	D2V_TRY(d2v_json_set(object, "threads", json_integer(r->threads), err));
	D2V_TRY(d2v_json_set_u64(object, "batches", r->batches, err));
	D2V_TRY(d2v_json_set_u64(object, noun(r), r->samples, err));
	D2V_TRY(d2v_json_set_u64(object, "bytes_read", r->bytes, err));
	D2V_TRY(d2v_json_set_u64(object, "epoch_batches", r->epoch_batches, err));
	D2V_TRY(d2v_json_set(object, "seconds", json_real(r->seconds), err));
	D2V_TRY(d2v_json_set(object, "cpu_seconds", json_real(r->cpu_seconds), err));
	D2V_TRY(d2v_json_set(object, "batches_per_second", json_real(per((double)r->batches, r->seconds)), err));
	D2V_TRY(d2v_json_set(object, "bytes_per_second", json_real(per((double)r->bytes, r->seconds)), err));
	D2V_TRY(set_rates(r, object, err));
	D2V_TRY(d2v_json_set(object, "consumer_waited_seconds", json_real(r->waited), err));
	D2V_TRY(d2v_json_set(object, "padding_share", json_real(r->padding), err));
	D2V_TRY(d2v_json_set_u64(object, "damaged", r->damaged, err));
	D2V_TRY(d2v_json_set_u64(object, "peak_rss_bytes", r->peak_rss, err));
	D2V_TRY(d2v_json_set_u64(object, "own_memory_bytes", r->own_memory, err));
	D2V_TRY(d2v_json_set_hex64(object, "digest", r->digest, err));
	json_t *stages = json_object();
	D2V_TRY(d2v_json_set(object, "stage_seconds", stages, err));
	for (int i = 0; i < D2V_SOURCE_STAGES && r->stage_name[i]; i++)
		D2V_TRY(d2v_json_set(stages, r->stage_name[i], json_real(r->stage_seconds[i]), err));
	return D2V_OK;
}

d2v_status d2v_bench_json(const d2v_bench_result *result, json_t **object, d2v_error *err) {
	*object = json_object();
	if (!*object)
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for a JSON object");
	d2v_status status = fill_json(result, *object, err);
	if (status != D2V_OK) {
		json_decref(*object);
		*object = NULL;
	}
	return status;
}

static void print_speech(const d2v_bench_result *r, FILE *out) {
	char duration[D2V_PROGRESS_TEXT];
	fprintf(out, "rate           %.1f batches/s, %.3f hours of speech/s, %.0f x real time, %.0f x per core\n",
		per((double)r->batches, r->seconds), per(r->audio_seconds / 3600, r->seconds), d2v_bench_real_time(r),
		d2v_bench_real_time_per_core(r));
	fprintf(out, "speech         %s handed out\n", d2v_progress_duration(r->audio_seconds, duration));
}

static void print_pictures(const d2v_bench_result *r, FILE *out) {
	fprintf(out, "rate           %.1f batches/s, %.0f pictures/s, %.0f per core\n", per((double)r->batches, r->seconds),
		per((double)r->samples, r->seconds), per((double)r->samples, r->cpu_seconds));
}

static void print_text(const d2v_bench_result *r, FILE *out) {
	char tokens[D2V_PROGRESS_TEXT];
	fprintf(out, "rate           %.1f batches/s, %.3g million tokens/s, %.3g per core\n",
		per((double)r->batches, r->seconds), 1e-6 * per((double)r->tokens, r->seconds),
		1e-6 * per((double)r->tokens, r->cpu_seconds));
	fprintf(out, "text           %s tokens handed out\n", d2v_progress_count(r->tokens, tokens));
}

static void print_rates(const d2v_bench_result *result, FILE *out) {
	char bytes[D2V_PROGRESS_TEXT];
	switch (result->modality) {
	case D2V_IMAGE:
		print_pictures(result, out);
		break;
	case D2V_TEXT:
		print_text(result, out);
		break;
	default:
		print_speech(result, out);
	}
	fprintf(out, "read           %s, %.1f MB/s", d2v_progress_bytes((double)result->bytes, bytes),
		1e-6 * per((double)result->bytes, result->seconds));
	if (result->modality != D2V_TEXT)
		fprintf(out, ", %.2f %% of it cropped away", 100 * result->padding);
	fputc('\n', out);
}

void d2v_bench_print(const d2v_bench_result *result, FILE *out) {
	char count[D2V_PROGRESS_TEXT], bytes[D2V_PROGRESS_TEXT], digest[17];
	double busy = 0;
	d2v_hash64_hex(result->digest, digest);
	fprintf(out, "batches        %s (%s %s) in %.2f s with %d thread%s (an epoch has %llu)\n",
		d2v_progress_count(result->batches, count), d2v_progress_count(result->samples, bytes), noun(result),
		result->seconds, result->threads, result->threads == 1 ? "" : "s", (unsigned long long)result->epoch_batches);
	print_rates(result, out);
	for (int i = 0; i < D2V_SOURCE_STAGES && result->stage_name[i]; i++)
		busy += result->stage_seconds[i];
	fprintf(out, "stages        ");
	for (int i = 0; i < D2V_SOURCE_STAGES && result->stage_name[i]; i++)
		fprintf(out, " %s %.3f s (%.0f %%)%s", result->stage_name[i], result->stage_seconds[i],
			100 * per(result->stage_seconds[i], busy),
			i + 1 < D2V_SOURCE_STAGES && result->stage_name[i + 1] ? "," : "");
	fprintf(out, "\nconsumer       waited %.3f s\n", result->waited);
	fprintf(out, "damaged        %llu records replaced\n", (unsigned long long)result->damaged);
	fprintf(out, "memory         %s, and with the pages of the mapped shards %s at most\n",
		result->own_memory ? d2v_progress_bytes((double)result->own_memory, bytes) : "unknown",
		d2v_progress_bytes((double)result->peak_rss, count));
	fprintf(out, "stream         digest %s\n", digest);
}
