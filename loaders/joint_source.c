#include "loaders/joint_source.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/random.h"
#include "loaders/order.h"

#include <math.h>
#include <string.h>

#define OUT 2 // batches that may be out at a time

typedef struct joint_source {
	d2v_source source;
	d2v_joint_options options;
	d2v_order order;                    // its turns and places; which item comes when is decided here
	uint64_t update_turns;              // of this rank in an update
	uint64_t updates[D2V_SOURCE_PARTS]; // of an epoch, by source
	uint64_t updates_epoch;             // their sum
	uint64_t epoch, turn, index, digest;
	struct {
		d2v_batch batch;       // what the caller sees
		const d2v_batch *made; // the source's; NULL: not out
		int source;
	} lent[OUT];
	double opened, waited;
} joint_source;

static int source_of(const joint_source *self, uint64_t epoch, uint64_t update) {
	d2v_random_key key = d2v_random_key_make(self->options.seed, D2V_RANDOM_JOINT, epoch, 0);
	uint64_t place = d2v_random_permute(key, self->updates_epoch, update);
	int i = 0;
	while (place >= self->updates[i])
		place -= self->updates[i++];
	return i;
}

static d2v_status next(d2v_source *source, const d2v_batch **batch, d2v_error *err) {
	joint_source *self = (joint_source *)source;
	int at = self->lent[0].made ? 1 : 0, which = source_of(self, self->epoch, self->turn / self->update_turns);
	D2V_ASSERT(!self->lent[at].made);
	double start = d2v_clock();
	d2v_status status = d2v_source_next(self->options.sources[which], &self->lent[at].made, err);
	self->waited += d2v_clock() - start;
	if (status != D2V_OK)
		return status;
	self->lent[at].source = which;
	self->lent[at].batch = *self->lent[at].made;
	self->lent[at].batch.index = self->index++;
	self->lent[at].batch.epoch = self->epoch;
	self->lent[at].batch.owner = self;
	if (++self->turn == d2v_order_turns(&self->order)) {
		self->turn = 0;
		self->epoch++;
	}
	*batch = &self->lent[at].batch;
	return D2V_OK;
}

static void give(d2v_source *source, const d2v_batch *batch) {
	joint_source *self = (joint_source *)source;
	int at = batch == &self->lent[1].batch;
	D2V_ASSERT(batch == &self->lent[at].batch && self->lent[at].made);
	d2v_source_give(self->options.sources[self->lent[at].source], self->lent[at].made);
	self->lent[at].made = NULL;
}

static d2v_source_position tell(const d2v_source *source) {
	const joint_source *self = (const joint_source *)source;
	d2v_source_position position = { .epoch = self->epoch,
		.step = d2v_order_dealt(&self->order, self->turn),
		.index = self->index,
		.plan = self->digest,
		.parts = (uint64_t)self->options.count };
	for (int i = 0; i < self->options.count; i++) {
		d2v_source_position own = d2v_source_tell(self->options.sources[i]);
		position.part[i] = (d2v_source_place){ own.epoch, own.step, own.index, own.plan };
	}
	return position;
}

static d2v_status seek(d2v_source *source, const d2v_source_position *position, d2v_error *err) {
	joint_source *self = (joint_source *)source;
	uint64_t turn;
	if (position->parts != (uint64_t)self->options.count)
		return d2v_fail(err, D2V_INVALID,
			"the saved run took its batches from %llu data sets together, this one from %d",
			(unsigned long long)position->parts, self->options.count);
	for (int i = 0; i < self->options.count; i++) { // first, since each says what of its settings changed
		const d2v_source_place *place = &position->part[i];
		d2v_source_position own = { place->epoch, place->step, place->index, place->plan, 0, { { 0 } } };
		D2V_TRY(d2v_source_seek(self->options.sources[i], &own, err));
	}
	if (position->plan != self->digest)
		return d2v_fail(err, D2V_INVALID,
			"the shares, the seed or the batches of an update of the joint run were changed; undo that, or start a new "
			"run");
	if (!position->epoch)
		return d2v_fail(err, D2V_INVALID, "a position in epoch 0; epochs are counted from 1");
	D2V_TRY(d2v_order_turn_of(&self->order, position->step, &turn, err));
	D2V_ASSERT(!self->lent[0].made && !self->lent[1].made);
	self->epoch = position->epoch + turn / d2v_order_turns(&self->order);
	self->turn = turn % d2v_order_turns(&self->order);
	self->index = position->index;
	return D2V_OK;
}

static void add_stage(d2v_source_stats *sum, const char *name, double seconds) {
	for (int i = 0; i + 1 < D2V_SOURCE_STAGES; i++) { // a NULL ends them
		if (sum->stage_name[i] && strcmp(sum->stage_name[i], name) != 0)
			continue;
		sum->stage_name[i] = name;
		sum->stage_seconds[i] += seconds;
		return;
	}
}

static d2v_source_stats statistics(d2v_source *source) {
	joint_source *self = (joint_source *)source;
	d2v_source_stats sum = { .waited = self->waited, .elapsed = d2v_clock() - self->opened };
	for (int i = 0; i < self->options.count; i++) {
		d2v_source_stats own = d2v_source_statistics(self->options.sources[i]);
		sum.batches += own.batches;
		sum.samples += own.samples;
		sum.bytes += own.bytes;
		sum.seconds_of_audio += own.seconds_of_audio;
		sum.padding = fmax(sum.padding, own.padding);
		sum.damaged += own.damaged;
		for (int s = 0; s < D2V_SOURCE_STAGES && own.stage_name[s]; s++)
			add_stage(&sum, own.stage_name[s], own.stage_seconds[s]);
	}
	return sum;
}

static uint64_t epoch_steps(const d2v_source *source, uint64_t epoch) {
	(void)epoch;
	return d2v_order_turns(&((const joint_source *)source)->order);
}

static void close_source(d2v_source *source) {
	joint_source *self = (joint_source *)source;
	for (int i = 0; i < self->options.count; i++)
		d2v_source_close(self->options.sources[i]);
	d2v_free(self);
}

static const d2v_source_methods methods = { next, give, tell, seek, statistics, epoch_steps, close_source };

// ---- opening

// The sum is kept but for rounding, and every source with a share gets an update.
static void divide_by_shares(joint_source *self, double whole) {
	double sum = 0;
	for (int i = 0; i < self->options.count; i++)
		sum += self->options.shares[i];
	for (int i = 0; i < self->options.count; i++) {
		double part = whole * self->options.shares[i] / sum;
		self->updates[i] = part > 0 && part < 1 ? 1 : (uint64_t)llround(part);
	}
}

static d2v_status count_updates(joint_source *self, d2v_error *err) {
	const d2v_joint_options *o = &self->options;
	uint64_t whole = 0;
	bool shared = false;
	for (int i = 0; i < o->count; i++) {
		uint64_t turns = d2v_source_epoch_steps(o->sources[i], 1);
		if (!turns)
			return d2v_fail(err, D2V_INVALID, "source %d of a joint run has no epochs", i);
		if (!(o->shares[i] >= 0 && o->shares[i] <= 1e9))
			return d2v_fail(err, D2V_INVALID, "a share of %g; it must be 0 or more", o->shares[i]);
		shared = shared || o->shares[i] > 0;
		self->updates[i] = turns / self->update_turns + (turns % self->update_turns != 0);
		whole += self->updates[i];
	}
	if (shared)
		divide_by_shares(self, (double)whole);
	for (int i = 0; i < o->count; i++)
		self->updates_epoch += self->updates[i];
	return D2V_OK;
}

static uint64_t digest_of(const joint_source *self) {
	const d2v_joint_options *o = &self->options;
	const uint64_t numbers[] = { 1 /* version of the stream */, o->seed, o->imitated_world_size, o->update_freq,
		(uint64_t)o->count };
	uint64_t digest = d2v_hash64(numbers, sizeof numbers);
	digest = d2v_hash64_chain(digest, d2v_hash64(self->updates, sizeof self->updates));
	for (int i = 0; i < o->count; i++)
		digest = d2v_hash64_chain(digest, d2v_source_tell(o->sources[i]).plan);
	return digest;
}

static d2v_status prepare(joint_source *self, d2v_error *err) {
	d2v_joint_options *o = &self->options;
	o->world_size = o->world_size ? o->world_size : 1;
	o->imitated_world_size = o->imitated_world_size ? o->imitated_world_size : o->world_size;
	o->update_freq = o->update_freq ? o->update_freq : 1;
	if (o->count < 1 || o->count > D2V_SOURCE_PARTS)
		return d2v_fail(err, D2V_INVALID, "%d sources together; 1 to %d are possible", o->count, D2V_SOURCE_PARTS);
	self->order =
		(d2v_order){ .count = 1, .ranks = o->world_size, .rank = o->rank, .imitated = o->imitated_world_size };
	self->update_turns = d2v_order_rounds(&self->order) * o->update_freq;
	D2V_TRY(count_updates(self, err));
	self->order.count = self->updates_epoch * o->imitated_world_size * o->update_freq;
	D2V_TRY(d2v_order_check(&self->order, err));
	self->epoch = 1;
	self->digest = digest_of(self);
	return D2V_OK;
}

d2v_status d2v_joint_source_open(d2v_source **source, const d2v_joint_options *options, d2v_error *err) {
	joint_source *self;
	*source = NULL;
	D2V_TRY(d2v_alloc_zero(&self, 1, sizeof *self, err));
	self->source.methods = &methods;
	self->options = *options;
	self->opened = d2v_clock();
	d2v_status status = prepare(self, err);
	if (status != D2V_OK) {
		d2v_free(self);
		return status;
	}
	*source = &self->source;
	return D2V_OK;
}
