#include "ingest/pipeline.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/ring.h"
#include "ingest/consumer.h"
#include "ingest/decoder.h"
#include "ingest/reader.h"

#include <pthread.h>

#define BUDGET_BYTES ((uint64_t)80 << 20)
#define KEEP_TOTAL ((size_t)32 << 20) // of all buffers kept for reuse
#define KEEP_EACH ((size_t)1 << 20)
#define JOBS_MAX 256
#define SLOTS_AHEAD 8 // one worker hands 4 MiB to the disk now and then: the others go on meanwhile

typedef struct team {
	const d2v_ingest_options *options;
	d2v_ring *ring;
	d2v_budget *budget;
	d2v_item **slots; // an item belongs to whoever has its slot
	size_t slot_count, keep_bytes;
	d2v_consumer consumer; // these three belong to whoever takes from the ring
	d2v_status status;
	d2v_error err;
	pthread_mutex_t reading; // guards the reader
	d2v_reader reader;
} team;

// One turn at the source. False: there is nothing more to be had.
static bool take_turn(team *crew, d2v_decoder_file *file, uint64_t *ticket, d2v_item **item) {
	size_t slot;
	pthread_mutex_lock(&crew->reading);
	bool granted = d2v_ring_claim(crew->ring, ticket, &slot);
	if (granted) {
		*item = crew->slots[slot];
		d2v_error err;
		d2v_status status = d2v_reader_next(
			&crew->reader, *ticket, crew->budget, *item, &file->bytes, &file->capacity, &file->size, &err);
		if (status == D2V_END) {
			d2v_ring_end(crew->ring, *ticket);
			granted = false;
		} else if (status != D2V_OK) {
			(*item)->kind = D2V_ITEM_FAILED;
			(*item)->status = status;
			(*item)->err = err;
			d2v_ring_end(crew->ring, *ticket + 1);
		}
	}
	pthread_mutex_unlock(&crew->reading);
	return granted;
}

// False: stopped.
static bool decode(team *crew, void **worker, d2v_item *item, d2v_decoder_file *file, uint64_t ticket) {
	const d2v_decoder *decoder = crew->options->layout->decoder;
	d2v_error err;
	d2v_status status = *worker ? D2V_OK : decoder->open(worker, crew->options, &err);
	if (status == D2V_OK)
		status = decoder->decode(*worker, item, file, crew->options, crew->budget, ticket, &err);
	if (status == D2V_END)
		return false;
	if (status != D2V_OK) {
		item->kind = D2V_ITEM_FAILED;
		item->status = status;
		item->err = err;
	}
	return true;
}

static d2v_status consume(team *crew, uint64_t ticket, size_t slot) {
	D2V_TRY(d2v_consumer_handle(&crew->consumer, &crew->slots[slot], &crew->err));
	d2v_ring_give(crew->ring, ticket);
	d2v_budget_advance(crew->budget, ticket + 1);
	return D2V_OK;
}

// What is published and next in order goes into the shards, unless another worker is at it.
static void consume_published(team *crew) {
	uint64_t ticket;
	size_t slot;
	while (d2v_ring_take_published(crew->ring, &ticket, &slot)) {
		d2v_status status = consume(crew, ticket, slot);
		if (status == D2V_OK)
			continue;
		crew->status = status;
		d2v_ring_stop(crew->ring);
		d2v_budget_stop(crew->budget);
	}
}

static void *work(void *context) {
	team *crew = context;
	const d2v_decoder *decoder = crew->options->layout->decoder;
	d2v_decoder_file file = { 0 };
	void *worker = NULL;
	uint64_t ticket;
	d2v_item *item;
	while (take_turn(crew, &file, &ticket, &item)) {
		if (item->kind == D2V_ITEM_SAMPLE && !decode(crew, &worker, item, &file, ticket))
			break;
		if (file.capacity > crew->keep_bytes) {
			d2v_free(file.bytes);
			file = (d2v_decoder_file){ 0 };
		}
		if (worker)
			decoder->trim(worker, crew->keep_bytes);
		d2v_ring_publish(crew->ring, ticket);
		consume_published(crew);
	}
	d2v_free(file.bytes);
	decoder->close(worker);
	return NULL;
}

// The caller is one of the workers.
static d2v_status run_threads(team *crew, d2v_error *err) {
	pthread_t *threads;
	int others = crew->options->jobs - 1, started = 0;
	D2V_TRY(d2v_alloc(&threads, (size_t)others, sizeof *threads, err));
	while (started < others && pthread_create(&threads[started], NULL, work, crew) == 0)
		started++;
	work(crew);
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	d2v_free(threads);
	if (crew->status == D2V_OK)
		return d2v_consumer_finish(&crew->consumer, err);
	*err = crew->err;
	return crew->status;
}

static d2v_status set_up(team *crew, d2v_error *err) {
	size_t jobs = (size_t)crew->options->jobs;
	crew->slot_count = jobs + SLOTS_AHEAD;
	crew->keep_bytes = KEEP_TOTAL / (crew->slot_count + 2 * jobs);
	if (crew->keep_bytes > KEEP_EACH)
		crew->keep_bytes = KEEP_EACH;
	D2V_TRY(d2v_ring_new(&crew->ring, crew->slot_count, err));
	D2V_TRY(d2v_budget_new(&crew->budget, BUDGET_BYTES, err));
	D2V_TRY(d2v_alloc_zero(&crew->slots, crew->slot_count, sizeof *crew->slots, err));
	for (size_t i = 0; i < crew->slot_count; i++)
		D2V_TRY(d2v_alloc_zero(&crew->slots[i], 1, sizeof **crew->slots, err));
	return D2V_OK;
}

static void tear_down(team *crew) {
	for (size_t i = 0; crew->slots && i < crew->slot_count; i++)
		if (crew->slots[i]) {
			d2v_free(crew->slots[i]->payload);
			d2v_free(crew->slots[i]);
		}
	d2v_free(crew->slots);
	d2v_budget_free(crew->budget);
	d2v_ring_free(crew->ring);
	d2v_reader_close(&crew->reader);
	pthread_mutex_destroy(&crew->reading);
}

// How much more disk the rest wants, judged by what the source has given so far.
static d2v_status explain_no_space(const d2v_consumer *consumer, d2v_error *err) {
	char more[D2V_PROGRESS_TEXT];
	double made = (double)consumer->result->new_bytes;
	if (!err || !consumer->total || !consumer->done || consumer->done > consumer->total)
		return D2V_NO_SPACE;
	double left =
		made / (double)consumer->done * (double)(consumer->total - consumer->done) + (double)((uint64_t)64 << 20);
	char text[D2V_ERROR_TEXT];
	snprintf(text, sizeof text, "%s", err->text);
	return d2v_fail(err, D2V_NO_SPACE,
		"%.700s; about %s more are needed: make room and run the same command, it goes on from here", text,
		d2v_progress_bytes(left, more));
}

d2v_status d2v_pipeline_run(const d2v_ingest_options *options, const char *state, d2v_journal *journal,
	d2v_ingest_result *result, d2v_error *err) {
	d2v_error local = { 0 };
	team crew = { .options = options };
	if (options->jobs < 1 || options->jobs > JOBS_MAX)
		return d2v_fail(err, D2V_INVALID, "%d jobs; 1 to %d are possible", options->jobs, JOBS_MAX);
	pthread_mutex_init(&crew.reading, NULL);
	d2v_status status = set_up(&crew, &local);
	if (status == D2V_OK)
		status = d2v_reader_open(&crew.reader, options, state, journal, &local);
	if (status == D2V_OK)
		status = d2v_consumer_open(&crew.consumer, options, state, journal, crew.budget, result, &local);
	crew.consumer.keep_bytes = crew.keep_bytes;
	if (status == D2V_OK)
		status = run_threads(&crew, &local);
	if (status == D2V_NO_SPACE)
		status = explain_no_space(&crew.consumer, &local);
	d2v_debug("bytes in flight: at most %llu", (unsigned long long)(crew.budget ? d2v_budget_peak(crew.budget) : 0));
	if (crew.consumer.outlets)
		d2v_consumer_close(&crew.consumer);
	tear_down(&crew);
	if (status != D2V_OK && err)
		*err = local;
	return status;
}
