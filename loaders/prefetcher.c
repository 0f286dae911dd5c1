#include "loaders/prefetcher.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/ring.h"
#include "loaders/order.h"

#include <pthread.h>
#include <string.h>

#define OUT D2V_PREFETCH_OUT

typedef struct d2v_prefetcher d2v_prefetcher;

typedef struct worker {
	d2v_prefetcher *prefetcher;
	d2v_filler *filler;
	pthread_t thread;
} worker;

// While the threads run they read everything here but what is marked as the consumer's, and write nothing but the slots
// they claimed; the ring's mutex orders that.
struct d2v_prefetcher {
	d2v_source source;
	const d2v_prefetch_kind *kind;
	void *self; // the modality's
	d2v_prefetch_options options;
	d2v_prefetch_plan plan;
	d2v_dataset *dataset;
	d2v_order order;
	d2v_ring *ring;
	worker *workers;                  // (options.threads)
	int running;                      // threads started
	d2v_slot *slots;                  // (options.slots)
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
	double opened, used_units, read_units, stage_seconds[D2V_STAGES];
	d2v_source_stats stats;
	d2v_ring_waits waits; // of rings that are gone
};

// Ticket t is turn first_turn + t, counted on over the epochs.
static void place_of(const d2v_prefetcher *self, uint64_t ticket, uint64_t *epoch, uint64_t *turn) {
	uint64_t turns = d2v_order_turns(&self->order), total = self->first_turn + ticket;
	*epoch = self->first_epoch + total / turns;
	*turn = total % turns;
}

static void *work(void *argument) {
	worker *own = argument;
	d2v_prefetcher *self = own->prefetcher;
	uint64_t ticket, epoch, turn;
	size_t slot;
	while (d2v_ring_claim(self->ring, &ticket, &slot)) {
		place_of(self, ticket, &epoch, &turn);
		uint64_t batch = d2v_order_item(&self->order, epoch, turn), after = D2V_ORDER_NONE;
		if (turn + (uint64_t)self->options.threads < d2v_order_turns(&self->order))
			after = d2v_order_item(&self->order, epoch, turn + (uint64_t)self->options.threads);
		d2v_filler_fill(own->filler, epoch, batch, after, &self->slots[slot]);
		d2v_ring_publish(self->ring, ticket);
	}
	return NULL;
}

static void stop_threads(d2v_prefetcher *self) {
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

static d2v_status start_threads(d2v_prefetcher *self, d2v_error *err) {
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

static uint64_t damage_limit(const d2v_prefetcher *self) {
	double share = self->options.max_damaged_share * (double)d2v_dataset_records(self->dataset);
	return share > (double)self->options.max_damaged ? (uint64_t)share : self->options.max_damaged;
}

// Counts and names what a batch met, in the batches' order, so that the limit strikes at the same batch for any number
// of threads.
static d2v_status count_damages(d2v_prefetcher *self, const d2v_slot *slot, d2v_error *err) {
	char where[512];
	for (size_t i = 0; i < slot->damage_count; i++) {
		const d2v_damage *damage = &slot->damages[i];
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
		d2v_warn("%s: %s; replaced by %s %llu of the split (damaged so far: %llu of %llu allowed)", where,
			d2v_status_name(damage->status), self->kind->modality == D2V_TEXT ? "block" : "record",
			(unsigned long long)damage->substitute, (unsigned long long)self->stats.damaged,
			(unsigned long long)damage_limit(self));
	}
	return D2V_OK;
}

static void count_batch(d2v_prefetcher *self, const d2v_slot *slot) {
	d2v_source_stats *stats = &self->stats;
	stats->batches++;
	stats->samples += (uint64_t)slot->batch.samples;
	stats->bytes += slot->bytes;
	self->read_units += (double)slot->read_units;
	self->used_units += (double)slot->used_units;
	for (int i = 0; i < D2V_STAGES; i++)
		self->stage_seconds[i] += (double)slot->stage_ns[i] * 1e-9;
}

static d2v_status take(d2v_prefetcher *self, const d2v_batch **batch, d2v_error *err) {
	uint64_t ticket;
	size_t at;
	if (!self->ring)
		D2V_TRY(start_threads(self, err));
	bool got = d2v_ring_take(self->ring, &ticket, &at);
	D2V_ASSERT(got); // nobody else stops the ring, and it never ends
	d2v_slot *slot = &self->slots[at];
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
	d2v_prefetcher *self = (d2v_prefetcher *)source;
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
	d2v_prefetcher *self = (d2v_prefetcher *)source;
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
	const d2v_prefetcher *self = (const d2v_prefetcher *)source;
	d2v_source_position position = { .index = self->first_index + self->taken, .plan = self->plan.digest };
	uint64_t turn;
	place_of(self, self->taken, &position.epoch, &turn);
	position.step = d2v_order_dealt(&self->order, turn);
	return position;
}

static d2v_status seek(d2v_source *source, const d2v_source_position *position, d2v_error *err) {
	d2v_prefetcher *self = (d2v_prefetcher *)source;
	uint64_t turn;
	if (position->plan != self->plan.digest)
		return d2v_fail(err, D2V_INVALID,
			"the data or its settings are not those of the saved run (its digest is %016llx, this one's %016llx): data "
			"set, split, %s was changed; undo that, or start a new run",
			(unsigned long long)position->plan, (unsigned long long)self->plan.digest, self->plan.settings);
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
	static const char *const names[D2V_STAGES] = { "read", "decode", "resize", "mask", "digest" };
	d2v_prefetcher *self = (d2v_prefetcher *)source;
	d2v_source_stats stats = self->stats;
	uint64_t waited = self->waits.workers_ns + (self->ring ? d2v_ring_waited(self->ring).workers_ns : 0);
	int shown = 0;
	stats.elapsed = d2v_clock() - self->opened;
	if (self->plan.units_per_second > 0)
		stats.seconds_of_audio = self->used_units / self->plan.units_per_second;
	stats.padding = self->read_units > 0 ? 1 - self->used_units / self->read_units : 0;
	for (int i = 0; i < D2V_STAGES; i++)
		if (self->kind->stages >> i & 1) {
			stats.stage_name[shown] = names[i];
			stats.stage_seconds[shown++] = self->stage_seconds[i];
		}
	stats.stage_name[shown] = "wait for slot";
	stats.stage_seconds[shown] = (double)waited * 1e-9;
	return stats;
}
_Static_assert(D2V_STAGES + 1 < D2V_SOURCE_STAGES, "a NULL ends the stages");

static uint64_t epoch_steps(const d2v_source *source, uint64_t epoch) {
	(void)epoch; // every epoch is cut alike
	return d2v_order_turns(&((const d2v_prefetcher *)source)->order);
}

static void close_source(d2v_source *source) {
	d2v_prefetcher *self = (d2v_prefetcher *)source;
	stop_threads(self);
	for (int i = 0; self->workers && i < self->options.threads; i++)
		d2v_filler_free(self->workers[i].filler);
	for (int i = 0; self->slots && i < self->options.slots; i++) {
		d2v_block_free(&self->options.allocator, self->slots[i].block);
		d2v_free(self->slots[i].damages);
	}
	d2v_free(self->workers);
	d2v_free(self->slots);
	d2v_free(self->known_damaged);
	self->kind->release(self->self);
	d2v_dataset_close(self->dataset);
	d2v_free(self);
}

static const d2v_source_methods methods = { next, give, tell, seek, statistics, epoch_steps, close_source };

// Damage outside of the records costs no record, but it is damage: named, and counted against the same limit.
static d2v_status open_dataset(d2v_prefetcher *self, d2v_error *err) {
	const d2v_prefetch_options *o = &self->options;
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

static d2v_status open_data(d2v_prefetcher *self, d2v_modality modality, d2v_error *err) {
	D2V_TRY(open_dataset(self, err));
	d2v_modality found = d2v_dataset_manifest(self->dataset)->modality;
	if (found != modality)
		return d2v_fail(err, D2V_INVALID, "%s holds %s, not %s", self->options.data, d2v_modality_name(found),
			d2v_modality_name(modality));
	return d2v_alloc_zero(&self->known_damaged, d2v_dataset_records(self->dataset) / 8 + 1, 1, err);
}

static d2v_status make_slots(d2v_prefetcher *self, d2v_error *err) {
	const d2v_prefetch_options *o = &self->options;
	size_t damages = self->plan.largest_samples + D2V_FILLER_ATTEMPTS;
	D2V_TRY(d2v_alloc_zero(&self->slots, (size_t)o->slots, sizeof *self->slots, err));
	for (int i = 0; i < o->slots; i++) {
		d2v_slot *slot = &self->slots[i];
		D2V_TRY(d2v_block_alloc(&o->allocator, &slot->block, self->plan.largest_block, err));
		D2V_TRY(d2v_alloc(&slot->damages, damages, sizeof *slot->damages, err));
		slot->damage_capacity = damages;
	}
	return D2V_OK;
}

static d2v_status make_workers(d2v_prefetcher *self, d2v_error *err) {
	const d2v_prefetch_options *o = &self->options;
	D2V_TRY(d2v_alloc_zero(&self->workers, (size_t)o->threads, sizeof *self->workers, err));
	for (int i = 0; i < o->threads; i++) {
		worker *made = &self->workers[i];
		made->prefetcher = self;
		D2V_TRY(self->kind->filler_new(self->self, self->dataset, &made->filler, err));
		made->filler->may_replace = o->max_damaged || o->max_damaged_share > 0;
	}
	return D2V_OK;
}

static d2v_status start(d2v_prefetcher *self, d2v_error *err) {
	const d2v_prefetch_options *o = &self->options;
	D2V_TRY(open_data(self, self->kind->modality, err));
	D2V_TRY(self->kind->plan(self->self, self->dataset, &self->plan, err));
	self->order = (d2v_order){ .seed = o->seed,
		.purpose = D2V_RANDOM_BATCHES,
		.count = self->plan.items,
		.sequential = self->plan.sequential,
		.ranks = o->world_size,
		.rank = o->rank,
		.imitated = o->imitated_world_size };
	D2V_TRY(d2v_order_check(&self->order, err));
	D2V_TRY(make_slots(self, err));
	return make_workers(self, err);
}

d2v_status d2v_prefetcher_open(d2v_source **source, const d2v_prefetch_kind *kind, void *self,
	const d2v_prefetch_options *options, d2v_error *err) {
	d2v_prefetcher *made;
	*source = NULL;
	d2v_status status = d2v_alloc_zero(&made, 1, sizeof *made, err);
	if (status != D2V_OK) {
		kind->release(self);
		return status;
	}
	*made = (d2v_prefetcher){ .source.methods = &methods,
		.kind = kind,
		.self = self,
		.options = *options,
		.opened = d2v_clock(),
		.first_epoch = 1 };
	status = start(made, err);
	made->options.data = made->options.split = NULL; // were borrowed
	if (status != D2V_OK)
		close_source(&made->source);
	else
		*source = &made->source;
	return status;
}

static const d2v_prefetcher *prefetcher_of(const d2v_source *source) {
	D2V_ASSERT(source->methods == &methods);
	return (const d2v_prefetcher *)source;
}

const void *d2v_prefetcher_self(const d2v_source *source) {
	return prefetcher_of(source)->self;
}

d2v_dataset *d2v_prefetcher_dataset_of(const d2v_source *source) {
	return prefetcher_of(source)->dataset;
}
