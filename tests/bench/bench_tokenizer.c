// GPT-2's tokenizer on English web text, per core, beside what bounds it: copying the text, and getting it out of xz.
//
// The text is that of the OpenWebText sample under D2V_SHARED, gone through until TEXT_BYTES are encoded: as one text,
// and line by line as an ingest does. "one long word" is a megabyte of a single letter and of blanks, where an encoder
// that takes quadratic time would not come back. Rates are bytes per second of processor time; the gain of a second
// thread is in seconds of the clock. Everything takes turns, and the best of each counts. tiktoken is fetched for the
// occasion (tests/bench/tiktoken.sh), where that can be done, and its ids are compared.
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "ingest/bpe_encoder.h"
#include "ingest/char_class.h"
#include "tests/bench/work_folder.h"
#include "tests/ref/sample_text.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_BYTES ((size_t)200 << 20)
#define ROUNDS 2
#define LONG_WORD ((size_t)1 << 20)
#define TARGET_RATE 300e6
#define TARGET_TIKTOKEN 20.0
#define TARGET_TWO 1.8

typedef struct bench {
	char archive[600], gpt2[600], folder[600];
	sample_text words;
	d2v_vocabulary *vocabulary;
	d2v_bpe_merges *merges;
	d2v_bpe_encoder *encoders[2];
	d2v_ids ids[2];
	size_t turns; // through the text
} bench;

static double cpu_clock(void) {
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// ---- what is timed: each returns seconds of processor time

static double unpack(const bench *b) {
	sample_text again = { 0 };
	double start = cpu_clock();
	D2V_ASSERT(sample_text_read(&again, b->archive, NULL) == D2V_OK && again.size == b->words.size);
	start = cpu_clock() - start;
	sample_text_release(&again);
	return start;
}

static double copy(const bench *b, unsigned char *to) {
	double start = cpu_clock();
	for (size_t k = 0; k < b->turns; k++) {
		memcpy(to, b->words.bytes, b->words.size);
		__asm__ volatile("" ::"r"(to) : "memory");
	}
	return cpu_clock() - start;
}

static double encode(bench *b, int who, const unsigned char *bytes, size_t size, size_t turns) {
	double start = cpu_clock();
	for (size_t k = 0; k < turns; k++) {
		b->ids[who].count = 0;
		D2V_ASSERT(d2v_bpe_encode(b->encoders[who], bytes, size, &b->ids[who], NULL) == D2V_OK);
	}
	return cpu_clock() - start;
}

static double encode_lines(bench *b) {
	double start = cpu_clock();
	for (size_t k = 0; k < b->turns; k++)
		for (const unsigned char *at = b->words.bytes, *end = at + b->words.size, *newline; at < end;
			 at = newline + 1) {
			newline = memchr(at, '\n', (size_t)(end - at));
			newline = newline ? newline : end;
			size_t size = (size_t)(newline - at), skip = d2v_char_skip_space(at, size);
			size = d2v_char_trim_space(at + skip, size - skip);
			b->ids[0].count = 0;
			D2V_ASSERT(d2v_bpe_encode_within(
						   b->encoders[0], at + skip, size, (size_t)(end - at) - skip, &b->ids[0], NULL) == D2V_OK);
		}
	return cpu_clock() - start;
}

typedef struct worker {
	bench *b;
	int who;
	double cpu;
	pthread_t thread;
} worker;

static void *encode_all(void *context) {
	worker *w = context;
	w->cpu = encode(w->b, w->who, w->b->words.bytes, w->b->words.size, w->b->turns);
	return NULL;
}

// So many threads encode all, each for itself: the best seconds of the clock, and of one thread's processor time.
static void encode_by(bench *b, int threads, double *wall, double *cpu) {
	worker workers[2];
	double start = d2v_clock(), sum = 0;
	for (int k = 0; k < threads; k++) {
		workers[k] = (worker){ .b = b, .who = k };
		D2V_ASSERT(pthread_create(&workers[k].thread, NULL, encode_all, &workers[k]) == 0);
	}
	for (int k = 0; k < threads; k++) {
		pthread_join(workers[k].thread, NULL);
		sum += workers[k].cpu;
	}
	*wall = fmin(*wall, d2v_clock() - start);
	*cpu = fmin(*cpu, sum / threads);
}

// One piece; returns bytes a second.
static double long_word_rate(bench *b, char letter) {
	unsigned char *word;
	D2V_ASSERT(d2v_alloc(&word, LONG_WORD, 1, NULL) == D2V_OK);
	memset(word, letter, LONG_WORD);
	double seconds = encode(b, 0, word, LONG_WORD, 1);
	d2v_free(word);
	return (double)LONG_WORD / seconds;
}

// Bytes a second; 0 when it is not to be had. Its ids must be ours.
static double tiktoken_rate(bench *b) {
	char command[2000], path[700];
	double seconds;
	unsigned long long count, sum, ours = 0;
	snprintf(path, sizeof path, "%s/text", b->folder);
	D2V_ASSERT(d2v_file_replace(path, b->words.bytes, b->words.size, NULL) == D2V_OK);
	snprintf(command, sizeof command, "tests/bench/tiktoken.sh '%s' '%s' '%s'", path, b->gpt2, b->folder);
	FILE *output = popen(command, "r");
	int read = output ? fscanf(output, "%lf %llu %llu", &seconds, &count, &sum) : 0;
	if (output)
		pclose(output);
	if (read != 3)
		return 0;
	encode(b, 0, b->words.bytes, b->words.size, 1);
	for (size_t k = 0; k < b->ids[0].count; k++)
		ours += b->ids[0].ids[k];
	D2V_ASSERT(count == b->ids[0].count && sum == ours);
	return (double)b->words.size / seconds;
}

// ---- putting it together

static d2v_status prepare(bench *b, d2v_error *err) {
	D2V_TRY(sample_text_read(&b->words, b->archive, err));
	D2V_TRY(d2v_vocabulary_load(&b->vocabulary, b->gpt2, err));
	D2V_TRY(d2v_bpe_merges_new(&b->merges, b->vocabulary, err));
	for (int k = 0; k < 2; k++)
		D2V_TRY(d2v_bpe_encoder_new(&b->encoders[k], b->merges, err));
	b->turns = TEXT_BYTES / b->words.size;
	return D2V_OK;
}

static d2v_status measure(bench *b, d2v_error *err) {
	double best[6] = { INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY };
	double two_cpu = INFINITY;
	unsigned char *room;
	D2V_TRY(prepare(b, err));
	D2V_TRY(d2v_alloc(&room, b->words.size, 1, err));
	double bytes = (double)b->words.size * (double)b->turns, unpacked = (double)b->words.size;
	for (int round = 0; round < ROUNDS; round++) {
		best[0] = fmin(best[0], copy(b, room));
		best[1] = fmin(best[1], unpack(b));
		best[3] = fmin(best[3], encode_lines(b));
		encode_by(b, 1, &best[4], &best[2]);
		encode_by(b, 2, &best[5], &two_cpu);
	}
	d2v_free(room);
	double rate = bytes / best[2], letters = long_word_rate(b, 'a'), blanks = long_word_rate(b, ' ');
	double other = tiktoken_rate(b), two = 2 * best[4] / best[5];
	double two_free = 2 * best[2] / two_cpu;
	fprintf(stderr, "%zu bytes of text, %zu times\n", b->words.size, b->turns);
	fprintf(stderr, "  one text      %6.0f MB/s a core, %.2f of the %.0f aimed at; %.3f of memcpy, %.1f times xz\n",
		rate / 1e6, rate / TARGET_RATE, TARGET_RATE / 1e6, rate / (bytes / best[0]), rate / (unpacked / best[1]));
	fprintf(stderr, "  line by line  %6.0f MB/s a core, %.1f times xz\n", bytes / best[3] / 1e6,
		bytes / best[3] / (unpacked / best[1]));
	fprintf(stderr, "  one long word %6.0f MB/s of letters, %.0f of blanks\n", letters / 1e6, blanks / 1e6);
	fprintf(stderr, "  two threads   %.2f of one by the clock, %.1f aimed at; %.2f by the processor time they got\n",
		two, TARGET_TWO, two_free);
	if (other)
		fprintf(stderr, "  tiktoken      %6.1f MB/s, the same ids: we are %.1f times as fast, %.0f aimed at\n",
			other / 1e6, rate / other, TARGET_TIKTOKEN);
	else
		fprintf(stderr, "  tiktoken      is not to be had here: not compared\n");
	printf("{\"bench\": \"tokenizer\", \"bytes_per_second\": %.3e, \"ratio\": %.3f, \"lines_bytes_per_second\": %.3e, "
		   "\"share_of_memcpy\": %.4f, \"times_xz\": %.2f, \"long_letters\": %.3e, \"long_blanks\": %.3e, "
		   "\"two_threads\": %.2f, \"two_threads_by_processor_time\": %.2f, "
		   "\"times_tiktoken\": %.1f}\n",
		rate, rate / TARGET_RATE, bytes / best[3], rate / (bytes / best[0]), rate / (unpacked / best[1]), letters,
		blanks, two, two_free, other ? rate / other : 0);
	return D2V_OK;
}

static void release(bench *b) {
	for (int k = 0; k < 2; k++) {
		d2v_bpe_encoder_free(b->encoders[k]);
		d2v_free(b->ids[k].ids);
	}
	d2v_bpe_merges_free(b->merges);
	d2v_vocabulary_free(b->vocabulary);
	sample_text_release(&b->words);
}

static d2v_status measure_in(void *context, const char *folder, d2v_error *err) {
	bench *b = context;
	snprintf(b->folder, sizeof b->folder, "%s", folder);
	d2v_status status = measure(b, err);
	release(b);
	return status;
}

int main(void) {
	static bench b;
	if (!sample_path("openwebtext/openwebtext.tar.xz", b.archive, sizeof b.archive) ||
		!sample_path("gpt2", b.gpt2, sizeof b.gpt2)) {
		fprintf(stderr, "skipped: no OpenWebText sample and GPT-2 vocabulary under D2V_SHARED\n");
		return 0;
	}
	return work_in_folder("bench_tokenizer", measure_in, &b);
}
