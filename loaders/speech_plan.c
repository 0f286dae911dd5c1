#include "loaders/speech_plan.h"

#include "base/memory.h"
#include "base/random.h"

#include <string.h>

// Samples are counted in 32 bits, with room for a sign where lengths are subtracted.
#define LENGTH_MAX (UINT32_C(1) << 30)

static uint32_t clamp(uint64_t units, const d2v_speech_limits *limits) {
	uint64_t most = limits->max_sample_size ? limits->max_sample_size : LENGTH_MAX;
	return (uint32_t)(units < most ? units : most);
}

// Sorts by the upper half, smallest first and stable: bytes from the lowest, skipping those that are all alike.
static void sort_upper(uint64_t **keys, uint64_t **other, uint64_t count) {
	for (int shift = 32; shift < 64; shift += 8) {
		uint64_t places[257] = { 0 };
		for (uint64_t i = 0; i < count; i++)
			places[((*keys)[i] >> shift & 255) + 1]++;
		if (count && places[((*keys)[0] >> shift & 255) + 1] == count)
			continue;
		for (int b = 0; b < 256; b++)
			places[b + 1] += places[b];
		for (uint64_t i = 0; i < count; i++)
			(*other)[places[(*keys)[i] >> shift & 255]++] = (*keys)[i];
		uint64_t *swap = *keys;
		*keys = *other;
		*other = swap;
	}
}

static d2v_status sort_samples(
	d2v_speech_plan *plan, const d2v_index_row *rows, uint64_t count, const d2v_speech_limits *limits, d2v_error *err) {
	uint64_t *keys = NULL, *other = NULL, *first, *second, found = 0;
	d2v_status status = d2v_alloc(&keys, count, sizeof *keys, err);
	if (status == D2V_OK)
		status = d2v_alloc(&other, count, sizeof *other, err);
	if (status == D2V_OK)
		status = d2v_alloc(&plan->sorted, count, sizeof *plan->sorted, err);
	if (status == D2V_OK)
		status = d2v_alloc(&plan->lengths, count, sizeof *plan->lengths, err);
	if (status != D2V_OK)
		goto out;
	for (uint64_t i = 0; i < count; i++) {
		if (rows[i].units < limits->min_sample_size || !rows[i].units)
			continue;
		keys[found++] = (uint64_t)(UINT32_MAX - clamp(rows[i].units, limits)) << 32 | i; // longest first
		if (rows[i].units > plan->longest)
			plan->longest = rows[i].units;
	}
	first = keys, second = other;
	sort_upper(&first, &second, found);
	for (uint64_t i = 0; i < found; i++) {
		plan->sorted[i] = (uint32_t)first[i];
		plan->lengths[i] = UINT32_MAX - (uint32_t)(first[i] >> 32);
	}
	plan->samples = found;
	plan->too_short = count - found;
out:
	d2v_free(keys);
	d2v_free(other);
	return status;
}

static d2v_status find_ties(d2v_speech_plan *plan, d2v_error *err) {
	uint64_t groups = 0;
	for (uint64_t i = 0; i < plan->samples; i++)
		groups += !i || plan->lengths[i] != plan->lengths[i - 1];
	D2V_TRY(d2v_alloc(&plan->ties, groups + 1, sizeof *plan->ties, err));
	for (uint64_t i = 0; i < plan->samples; i++)
		if (!i || plan->lengths[i] != plan->lengths[i - 1])
			plan->ties[plan->tie_count++] = (uint32_t)i;
	plan->ties[groups] = (uint32_t)plan->samples;
	return D2V_OK;
}

// How many of the `size` utterances from `place` on make as many frames as the first.
static uint64_t equal_frames(
	const d2v_speech_plan *plan, const d2v_frames_spec *frames, uint64_t place, uint64_t size) {
	int64_t wanted = d2v_frames_count(frames, plan->lengths[place]);
	uint64_t low = 1, high = size; // the first `low` do, from `high` on none is looked at
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (d2v_frames_count(frames, plan->lengths[place + middle]) == wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

// How many utterances from `place` on make a batch; the first is the longest.
static uint64_t batch_at(const d2v_speech_plan *plan, const d2v_speech_limits *limits, uint64_t place) {
	uint64_t left = plan->samples - place, size = left, multiple = limits->required_batch_size_multiple;
	if (limits->batch_size && size > limits->batch_size)
		size = limits->batch_size;
	if (limits->max_tokens && size > limits->max_tokens / plan->lengths[place])
		size = limits->max_tokens / plan->lengths[place];
	if (limits->frames)
		size = equal_frames(plan, limits->frames, place, size);
	return multiple < 2 || size < multiple ? size : size - size % multiple;
}

static d2v_status cut_batches(d2v_speech_plan *plan, const d2v_speech_limits *limits, d2v_error *err) {
	uint64_t batches = 0, place = 0;
	for (; place < plan->samples; place += batch_at(plan, limits, place))
		batches++;
	D2V_TRY(d2v_alloc(&plan->starts, batches + 1, sizeof *plan->starts, err));
	for (place = 0; place < plan->samples;) {
		uint64_t size = batch_at(plan, limits, place);
		bool last = place + size == plan->samples;
		// As the original: with a multiple, a last batch that is none is dropped.
		if (last && limits->required_batch_size_multiple > 1 && size % limits->required_batch_size_multiple) {
			plan->dropped = size;
			break;
		}
		plan->starts[plan->batches++] = (uint32_t)place;
		if (size > plan->largest_batch)
			plan->largest_batch = (uint32_t)size;
		place += size;
	}
	plan->starts[plan->batches] = (uint32_t)place;
	return D2V_OK;
}

static d2v_status check(uint64_t count, const d2v_speech_limits *limits, d2v_error *err) {
	if (!limits->max_tokens && !limits->batch_size)
		return d2v_fail(err, D2V_INVALID, "neither max_tokens nor batch_size limits a batch; set one of them");
	if (limits->max_sample_size > LENGTH_MAX ||
		(limits->max_sample_size && limits->max_sample_size < limits->min_sample_size))
		return d2v_fail(err, D2V_INVALID, "max_sample_size %u must lie between min_sample_size %u and %u",
			limits->max_sample_size, limits->min_sample_size, LENGTH_MAX);
	if (count >= UINT32_MAX)
		return d2v_fail(err, D2V_UNSUPPORTED, "%llu utterances are more than 32 bits count; split the data set",
			(unsigned long long)count);
	return D2V_OK;
}

d2v_status d2v_speech_plan_make(d2v_speech_plan *plan, const d2v_index_row *rows, uint64_t count,
	const d2v_speech_limits *limits, uint64_t seed, d2v_error *err) {
	*plan = (d2v_speech_plan){ .seed = seed };
	D2V_TRY(check(count, limits, err));
	d2v_status status = sort_samples(plan, rows, count, limits, err);
	if (status == D2V_OK && plan->samples && limits->max_tokens && plan->lengths[0] > limits->max_tokens)
		status = d2v_fail(err, D2V_INVALID,
			"an utterance has %u samples and max_tokens is %llu; raise it or lower max_sample_size", plan->lengths[0],
			(unsigned long long)limits->max_tokens);
	if (status == D2V_OK)
		status = find_ties(plan, err);
	if (status == D2V_OK)
		status = cut_batches(plan, limits, err);
	if (status == D2V_OK && !plan->batches)
		status = d2v_fail(err, D2V_INVALID,
			"no batch can be made: of %llu utterances %llu are shorter than min_sample_size %u and %llu make no full "
			"batch of required_batch_size_multiple %u; smaller values take them",
			(unsigned long long)count, (unsigned long long)plan->too_short, limits->min_sample_size,
			(unsigned long long)plan->dropped, limits->required_batch_size_multiple);
	if (status != D2V_OK)
		d2v_speech_plan_release(plan);
	return status;
}

void d2v_speech_plan_release(d2v_speech_plan *plan) {
	d2v_free(plan->sorted);
	d2v_free(plan->lengths);
	d2v_free(plan->starts);
	d2v_free(plan->ties);
	*plan = (d2v_speech_plan){ 0 };
}

static uint64_t tie_of(const d2v_speech_plan *plan, uint64_t place) {
	uint64_t low = 0, high = plan->tie_count; // ties[low] <= place < ties[high]
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;
		if (plan->ties[middle] <= place)
			low = middle;
		else
			high = middle;
	}
	return low;
}

uint32_t d2v_speech_plan_sample(const d2v_speech_plan *plan, uint64_t epoch, uint64_t place) {
	D2V_ASSERT(place < plan->samples);
	uint64_t tie = tie_of(plan, place), first = plan->ties[tie], size = plan->ties[tie + 1] - first;
	if (size > 1) {
		d2v_random_key key = d2v_random_key_make(plan->seed, D2V_RANDOM_TIES, epoch, tie);
		place = first + d2v_random_permute(key, size, place - first);
	}
	return plan->sorted[place];
}

uint32_t d2v_speech_plan_substitute(
	const d2v_speech_plan *plan, uint64_t epoch, uint32_t damaged, uint32_t length, uint32_t attempt) {
	uint64_t low = 0, high = plan->samples; // lengths[0 .. low) >= length
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (plan->lengths[middle] >= length)
			low = middle + 1;
		else
			high = middle;
	}
	D2V_ASSERT(low > 0);
	d2v_random random;
	d2v_random_start(&random, d2v_random_key_make(plan->seed, D2V_RANDOM_SUBSTITUTE, epoch, damaged));
	random.counter = attempt;
	return plan->sorted[d2v_random_below(&random, (uint32_t)low)];
}
