#include "loaders/speech_source.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/ring.h"
#include "loaders/order.h"
#include "loaders/speech_filler.h"
#include "loaders/speech_options.h"

#include <pthread.h>
#include <string.h>

#define OUT D2V_SPEECH_OUT

typedef struct speech_source speech_source;

typedef struct speech_worker {
	speech_source *source;
	d2v_speech_filler *filler;
	pthread_t thread;
} speech_worker;

// While the threads run they read everything here but what is marked as the consumer's, and write nothing but the slots
// they claimed; the ring's mutex orders that.
struct speech_source {
	d2v_source source;
	d2v_speech_options options;
	d2v_dataset *dataset;
	d2v_speech_plan plan;
	d2v_order order;
	uint64_t digest; // of what decides the stream
	d2v_ring *ring;
	speech_worker *workers;           // (options.threads)
	int running;                      // threads started
	d2v_speech_slot *slots;           // (options.slots)
	uint64_t first_epoch, first_turn; // what ticket 0 is
	// The consumer's:
	uint64_t taken;       // tickets handed out since then
	uint64_t first_index; // batches handed out before that
	uint64_t lent[OUT];   // tickets that are out, oldest first
	bool returned[OUT];   // the younger one may come back first
	int lent_count;
	d2v_status failed; // sticky until a seek
	d2v_error failure;
	uint8_t *known_damaged; // (records / 8) bitmap
	double opened, used_samples, read_samples;
	d2v_source_stats stats;
	d2v_ring_waits waits; // of rings that are gone
};

// Ticket t is turn first_turn + t, counted on over the epochs.
static void place_of(const speech_source *self, uint64_t ticket, uint64_t *epoch, uint64_t *turn) {
	uint64_t turns = d2v_order_turns(&self->order), total = self->first_turn + ticket;
	*epoch = self->first_epoch + total / turns;
	*turn = total % turns;
}

static void *work(void *argument) {
	speech_worker *worker = argument;
	speech_source *self = worker->source;
	uint64_t ticket, epoch, turn;
	size_t slot;
	while (d2v_ring_claim(self->ring, &ticket, &slot)) {
		place_of(self, ticket, &epoch, &turn);
		uint64_t batch = d2v_order_item(&self->order, epoch, turn), after = D2V_ORDER_NONE;
		if (turn + (uint64_t)self->options.threads < d2v_order_turns(&self->order))
			after = d2v_order_item(&self->order, epoch, turn + (uint64_t)self->options.threads);
		d2v_speech_filler_fill(worker->filler, epoch, batch, after, &self->slots[slot]);
		d2v_ring_publish(self->ring, ticket);
	}
	return NULL;
}

static void stop_threads(speech_source *self) {
	if (!self->ring)
		return;
	d2v_ring_stop(self->ring);
	for (; self->running; self->running--)
		pthread_join(self->workers[self->running - 1].thread, NULL);
	d2v_ring_waits waits = d2v_ring_waited(self->ring);
	self->waits.workers_ns += waits.workers_ns;
	self->waits.consumer_ns += waits.consumer_ns;
	d2v_ring_free(self->ring);
	self->ring = NULL;
}

static d2v_status start_threads(speech_source *self, d2v_error *err) {
	D2V_TRY(d2v_ring_new(&self->ring, (size_t)self->options.slots, err));
	for (int i = 0; i < self->options.threads; i++) {
		int failed = pthread_create(&self->workers[i].thread, NULL, work, &self->workers[i]);
		if (failed) {
			stop_threads(self);
			return d2v_fail(err, D2V_NO_MEMORY, "cannot start loader thread %d: %s", i, strerror(failed));
		}
		self->running = i + 1;
	}
	return D2V_OK;
}

static uint64_t damage_limit(const speech_source *self) {
	double share = self->options.max_damaged_share * (double)d2v_dataset_records(self->dataset);
	return share > (double)self->options.max_damaged ? (uint64_t)share : self->options.max_damaged;
}

// Counts and names what a batch met, in the batches' order, so that the limit strikes at the same batch for any number
// of threads.
static d2v_status count_damages(speech_source *self, const d2v_speech_slot *slot, d2v_error *err) {
	char where[512];
	for (size_t i = 0; i < slot->damage_count; i++) {
		const d2v_speech_damage *damage = &slot->damages[i];
		uint8_t bit = (uint8_t)(1u << damage->record % 8);
		if (self->known_damaged[damage->record / 8] & bit)
			continue;
		self->known_damaged[damage->record / 8] |= bit;
		d2v_dataset_where(self->dataset, damage->record, where, sizeof where);
		if (++self->stats.damaged > damage_limit(self))
			return d2v_fail(err, D2V_CORRUPT,
				"%s: %s; %llu damaged records are more than the %llu allowed; run d2v-shard verify", where,
				d2v_status_name(damage->status), (unsigned long long)self->stats.damaged,
				(unsigned long long)damage_limit(self));
		d2v_warn("%s: %s; replaced by record %u of the split (damaged so far: %llu of %llu allowed)", where,
			d2v_status_name(damage->status), damage->substitute, (unsigned long long)self->stats.damaged,
			(unsigned long long)damage_limit(self));
	}
	return D2V_OK;
}

static void count_batch(speech_source *self, const d2v_speech_slot *slot) {
	d2v_source_stats *stats = &self->stats;
	stats->batches++;
	stats->samples += (uint64_t)slot->batch.samples;
	stats->bytes += slot->bytes;
	self->read_samples += (double)slot->read_samples;
	self->used_samples += (double)slot->used_samples;
	for (int i = 0; i < D2V_SPEECH_STAGES; i++)
		stats->stage_seconds[i] += (double)slot->stage_ns[i] * 1e-9;
}

static d2v_status take(speech_source *self, const d2v_batch **batch, d2v_error *err) {
	uint64_t ticket;
	size_t at;
	if (!self->ring)
		D2V_TRY(start_threads(self, err));
	bool got = d2v_ring_take(self->ring, &ticket, &at);
	D2V_ASSERT(got); // nobody else stops the ring, and it never ends
	d2v_speech_slot *slot = &self->slots[at];
	if (slot->status != D2V_OK) {
		if (err)
			*err = slot->error;
		return slot->status;
	}
	D2V_TRY(count_damages(self, slot, err));
	count_batch(self, slot);
	slot->batch.index = self->first_index + self->taken++;
	slot->batch.owner = self;
	self->lent[self->lent_count] = ticket;
	self->returned[self->lent_count++] = false;
	*batch = &slot->batch;
	return D2V_OK;
}

static d2v_status next(d2v_source *source, const d2v_batch **batch, d2v_error *err) {
	speech_source *self = (speech_source *)source;
	D2V_ASSERT(self->lent_count < OUT);
	if (self->failed == D2V_OK) {
		double start = d2v_clock();
		self->failed = take(self, batch, &self->failure);
		self->stats.waited += d2v_clock() - start;
	}
	if (self->failed != D2V_OK && err)
		*err = self->failure;
	return self->failed;
}

static void give(d2v_source *source, const d2v_batch *batch) {
	speech_source *self = (speech_source *)source;
	D2V_ASSERT(batch->owner == self && self->lent_count > 0);
	for (int i = 0; i < self->lent_count; i++)
		if (batch == &self->slots[self->lent[i] % (uint64_t)self->options.slots].batch)
			self->returned[i] = true;
	while (self->lent_count && self->returned[0]) { // the ring wants them back in order
		d2v_ring_give(self->ring, self->lent[0]);
		self->lent[0] = self->lent[1];
		self->returned[0] = self->returned[1];
		self->lent_count--;
	}
}

static d2v_source_position tell(const d2v_source *source) {
	const speech_source *self = (const speech_source *)source;
	d2v_source_position position = { .index = self->first_index + self->taken, .plan = self->digest };
	uint64_t turn;
	place_of(self, self->taken, &position.epoch, &turn);
	position.step = d2v_order_dealt(&self->order, turn);
	return position;
}

static d2v_status seek(d2v_source *source, const d2v_source_position *position, d2v_error *err) {
	speech_source *self = (speech_source *)source;
	const d2v_speech_options *o = &self->options;
	uint64_t turn;
	if (position->plan != self->digest)
		return d2v_fail(err, D2V_INVALID,
			"the data or its settings are not those of the saved run (its digest is %016llx, this one's %016llx): data "
			"set, "
			"split, seed %llu, max_tokens %llu, batch_size %u, min_sample_size %u, max_sample_size %u, clone_batch %d, "
			"mask_* or the "
			"extractor was changed; undo that, or start a new run",
			(unsigned long long)position->plan, (unsigned long long)self->digest, (unsigned long long)o->seed,
			(unsigned long long)o->limits.max_tokens, o->limits.batch_size, o->limits.min_sample_size,
			o->limits.max_sample_size, (int)o->clone_batch);
	D2V_TRY(d2v_order_turn_of(&self->order, position->step, &turn, err));
	if (!position->epoch)
		return d2v_fail(err, D2V_INVALID, "a position in epoch 0; epochs are counted from 1");
	D2V_ASSERT(!self->lent_count);
	stop_threads(self);
	self->first_epoch = position->epoch;
	self->first_turn = turn;
	self->first_index = position->index;
	self->taken = 0;
	self->failed = D2V_OK;
	return D2V_OK;
}

static d2v_source_stats statistics(d2v_source *source) {
	static const char *const names[D2V_SPEECH_STAGES] = { "read", "decode", "mask", "digest" };
	speech_source *self = (speech_source *)source;
	d2v_source_stats stats = self->stats;
	uint64_t waited = self->waits.workers_ns + (self->ring ? d2v_ring_waited(self->ring).workers_ns : 0);
	stats.elapsed = d2v_clock() - self->opened;
	stats.seconds_of_audio = self->used_samples / self->options.rate;
	stats.padding = self->read_samples > 0 ? 1 - self->used_samples / self->read_samples : 0;
	for (int i = 0; i < D2V_SPEECH_STAGES; i++)
		stats.stage_name[i] = names[i];
	stats.stage_name[D2V_SPEECH_STAGES] = "wait for slot";
	stats.stage_seconds[D2V_SPEECH_STAGES] = (double)waited * 1e-9;
	return stats;
}
_Static_assert(D2V_SPEECH_STAGES + 1 < D2V_SOURCE_STAGES, "a NULL ends the stages");

static uint64_t epoch_steps(const d2v_source *source, uint64_t epoch) {
	(void)epoch; // the lengths decide, and they are the same in each
	return d2v_order_turns(&((const speech_source *)source)->order);
}

static void close_source(d2v_source *source) {
	speech_source *self = (speech_source *)source;
	stop_threads(self);
	for (int i = 0; self->workers && i < self->options.threads; i++)
		d2v_speech_filler_free(self->workers[i].filler);
	for (int i = 0; self->slots && i < self->options.slots; i++) {
		d2v_block_free(&self->options.allocator, self->slots[i].block);
		d2v_free(self->slots[i].damages);
	}
	d2v_free(self->workers);
	d2v_free(self->slots);
	d2v_free(self->known_damaged);
	d2v_speech_plan_release(&self->plan);
	d2v_dataset_close(self->dataset);
	d2v_free(self);
}

static const d2v_source_methods methods = { next, give, tell, seek, statistics, epoch_steps, close_source };

const d2v_speech_plan *d2v_speech_source_plan(const d2v_source *source) {
	D2V_ASSERT(source->methods == &methods);
	return &((const speech_source *)source)->plan;
}

// Damage outside of the records costs no record, but it is damage: named, and counted against the same limit.
static d2v_status open_dataset(speech_source *self, d2v_error *err) {
	const d2v_speech_options *o = &self->options;
	uint64_t most = o->max_damaged_share > 0 ? UINT64_MAX : o->max_damaged; // what the share is of is not known yet
	D2V_TRY(d2v_dataset_open_damaged(&self->dataset, o->data, o->split, most, err));
	for (uint64_t i = 0; i < d2v_dataset_damages(self->dataset); i++) {
		if (++self->stats.damaged > damage_limit(self))
			return d2v_fail(err, D2V_CORRUPT, "%s; more than the %llu damages allowed; run d2v-shard verify",
				d2v_dataset_damage(self->dataset, i), (unsigned long long)damage_limit(self));
		d2v_warn("%s (damaged so far: %llu of %llu allowed)", d2v_dataset_damage(self->dataset, i),
			(unsigned long long)self->stats.damaged, (unsigned long long)damage_limit(self));
	}
	return D2V_OK;
}

static d2v_status open_data(speech_source *self, d2v_error *err) {
	const d2v_speech_options *o = &self->options;
	D2V_TRY(open_dataset(self, err));
	const d2v_manifest *manifest = d2v_dataset_manifest(self->dataset);
	if (manifest->modality != D2V_AUDIO)
		return d2v_fail(err, D2V_INVALID, "%s holds %s, not audio", o->data, d2v_modality_name(manifest->modality));
	if (manifest->rate != o->rate)
		return d2v_fail(err, D2V_INVALID, "%s has %u samples per second, %u are expected; ingest it again at that rate",
			o->data, manifest->rate, o->rate);
	uint64_t records = d2v_dataset_records(self->dataset);
	D2V_TRY(d2v_alloc_zero(&self->known_damaged, records / 8 + 1, 1, err));
	D2V_TRY(d2v_speech_plan_make(&self->plan, d2v_dataset_rows(self->dataset), records, &o->limits, o->seed, err));
	uint32_t shortest = d2v_speech_plan_target(&self->plan, self->plan.batches - 1);
	if (d2v_frames_count(&o->frames, shortest) < 1)
		return d2v_fail(err, D2V_INVALID,
			"%s has an utterance of %u samples, which gives no frame; raise min_sample_size", o->data, shortest);
	self->order = (d2v_order){ .seed = o->seed,
		.purpose = D2V_RANDOM_BATCHES,
		.count = self->plan.batches,
		.ranks = o->world_size,
		.rank = o->rank,
		.imitated = o->imitated_world_size };
	return d2v_order_check(&self->order, err);
}

static d2v_status make_slots(speech_source *self, d2v_error *err) {
	d2v_speech_options *o = &self->options;
	d2v_block_shape empty = d2v_speech_filler_shape(&self->plan, o, D2V_ORDER_NONE);
	size_t largest = d2v_block_size(&empty);
	for (uint64_t b = 0; b < self->plan.batches; b++) {
		d2v_block_shape shape = d2v_speech_filler_shape(&self->plan, o, b);
		D2V_TRY(d2v_block_check(&shape, err));
		size_t size = d2v_block_size(&shape);
		largest = size > largest ? size : largest;
	}
	size_t damages = (size_t)self->plan.largest_batch + D2V_SPEECH_ATTEMPTS;
	D2V_TRY(d2v_alloc_zero(&self->slots, (size_t)o->slots, sizeof *self->slots, err));
	for (int i = 0; i < o->slots; i++) {
		d2v_speech_slot *slot = &self->slots[i];
		D2V_TRY(d2v_block_alloc(&o->allocator, &slot->block, largest, err));
		D2V_TRY(d2v_alloc(&slot->damages, damages, sizeof *slot->damages, err));
		slot->damage_capacity = damages;
	}
	D2V_TRY(d2v_alloc_zero(&self->workers, (size_t)o->threads, sizeof *self->workers, err));
	for (int i = 0; i < o->threads; i++) {
		self->workers[i].source = self;
		D2V_TRY(d2v_speech_filler_new(&self->workers[i].filler, self->dataset, &self->plan, o, err));
	}
	return D2V_OK;
}

d2v_status d2v_speech_source_open(d2v_source **source, const d2v_speech_options *options, d2v_error *err) {
	speech_source *self;
	*source = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->source.methods = &methods;
	self->options = *options;
	self->opened = d2v_clock();
	self->first_epoch = 1;
	d2v_status status = d2v_speech_options_check(&self->options, err);
	if (status == D2V_OK)
		status = open_data(self, err);
	if (status == D2V_OK)
		status = make_slots(self, err);
	if (status != D2V_OK) {
		close_source(&self->source);
		return status;
	}
	self->options.data = self->options.split = NULL; // were borrowed
	self->digest = d2v_speech_options_digest(&self->options, self->dataset);
	*source = &self->source;
	return D2V_OK;
}
