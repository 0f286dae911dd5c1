#include "loaders/text_plan.h"

#include "base/memory.h"
#include "base/random.h"

#define TOKENS_PER_SAMPLE_MAX (1u << 24)

static d2v_status check(const d2v_text_limits *limits, d2v_error *err) {
	if (limits->tokens_per_sample < 2 || limits->tokens_per_sample > TOKENS_PER_SAMPLE_MAX)
		return d2v_fail(err, D2V_INVALID, "tokens_per_sample is %u; it must lie in [2, %u]", limits->tokens_per_sample,
			TOKENS_PER_SAMPLE_MAX);
	if (!limits->max_tokens && !limits->batch_size)
		return d2v_fail(err, D2V_INVALID, "neither max_tokens nor batch_size limits a batch; set one of them");
	if (limits->max_tokens && limits->max_tokens < limits->tokens_per_sample)
		return d2v_fail(err, D2V_INVALID, "max_tokens %llu is less than tokens_per_sample %u; raise it",
			(unsigned long long)limits->max_tokens, limits->tokens_per_sample);
	return D2V_OK;
}

static d2v_status sum_lengths(d2v_text_plan *plan, const d2v_index_row *rows, uint64_t count, d2v_error *err) {
	D2V_TRY(d2v_alloc(&plan->starts, count + 1, sizeof *plan->starts, err));
	plan->records = count;
	for (uint64_t i = 0; i < count; i++) {
		plan->starts[i] = plan->tokens;
		if (__builtin_add_overflow(plan->tokens, rows[i].units, &plan->tokens) || plan->tokens > INT64_MAX)
			return d2v_fail(err, D2V_CORRUPT, "the index says more tokens than 64 bits count; run d2v-shard verify");
	}
	plan->starts[count] = plan->tokens;
	return D2V_OK;
}

// What the original's rules come to when all blocks but one are equally long.
static void cut_batches(d2v_text_plan *plan, const d2v_text_limits *limits) {
	uint64_t size = limits->batch_size ? limits->batch_size : UINT32_MAX;
	uint32_t multiple = limits->required_batch_size_multiple;
	if (limits->max_tokens && size > limits->max_tokens / limits->tokens_per_sample)
		size = limits->max_tokens / limits->tokens_per_sample;
	size = size > plan->blocks ? plan->blocks : size;
	if (multiple > 1 && size > multiple)
		size -= size % multiple;
	plan->batch = (uint32_t)size;
	plan->batches = plan->blocks / size + (plan->blocks % size != 0);
	if (plan->sequential || multiple < 2)
		return;
	uint64_t last = plan->blocks % size ? plan->blocks % size : size;
	plan->dropped = last % multiple;
	plan->batches -= plan->dropped == last;
}

d2v_status d2v_text_plan_make(d2v_text_plan *plan, const d2v_index_row *rows, uint64_t count,
	const d2v_text_limits *limits, bool sequential, uint64_t seed, d2v_error *err) {
	*plan = (d2v_text_plan){ .seed = seed, .sequential = sequential };
	D2V_TRY(check(limits, err));
	d2v_status status = sum_lengths(plan, rows, count, err);
	if (status == D2V_OK && plan->tokens) {
		plan->length = limits->tokens_per_sample - 1;
		plan->rest = (uint32_t)(plan->tokens % plan->length);
		plan->blocks = plan->tokens / plan->length + (plan->rest != 0);
		cut_batches(plan, limits);
	}
	if (status == D2V_OK && !plan->batches)
		status = d2v_fail(err, D2V_INVALID,
			"no batch can be made: %llu tokens are %llu blocks of %u, and required_batch_size_multiple %u drops them; "
			"1 keeps all",
			(unsigned long long)plan->tokens, (unsigned long long)plan->blocks, limits->tokens_per_sample,
			limits->required_batch_size_multiple);
	if (status != D2V_OK)
		d2v_text_plan_release(plan);
	return status;
}

void d2v_text_plan_release(d2v_text_plan *plan) {
	d2v_free(plan->starts);
	*plan = (d2v_text_plan){ 0 };
}

uint32_t d2v_text_plan_size(const d2v_text_plan *plan, uint64_t b) {
	uint64_t left = plan->blocks - plan->dropped - b * plan->batch;
	return left < plan->batch ? (uint32_t)left : plan->batch;
}

static bool has_rest(const d2v_text_plan *plan, uint64_t b) {
	return plan->rest && b == (plan->sequential ? plan->batches - 1 : 0);
}

uint32_t d2v_text_plan_width(const d2v_text_plan *plan, uint64_t b) {
	return 1 + (has_rest(plan, b) && d2v_text_plan_size(plan, b) == 1 ? plan->rest : plan->length);
}

bool d2v_text_plan_pads(const d2v_text_plan *plan, uint64_t b) {
	return has_rest(plan, b) && d2v_text_plan_size(plan, b) > 1;
}

uint64_t d2v_text_plan_block(const d2v_text_plan *plan, uint64_t b, uint64_t at) {
	uint64_t place = b * plan->batch + at, rests = plan->rest != 0;
	if (plan->sequential)
		return place;
	if (place < rests)
		return plan->blocks - 1;
	d2v_random_key key = d2v_random_key_make(plan->seed, D2V_RANDOM_TIES, 0, 0);
	return d2v_random_permute(key, plan->blocks - rests, place - rests);
}

uint32_t d2v_text_plan_tokens(const d2v_text_plan *plan, uint64_t block) {
	return plan->rest && block == plan->blocks - 1 ? plan->rest : plan->length;
}

uint64_t d2v_text_plan_record(const d2v_text_plan *plan, uint64_t block, uint64_t *offset) {
	uint64_t token = block * plan->length, low = 0, high = plan->records; // starts[low] <= token < starts[high]
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;
		if (plan->starts[middle] <= token)
			low = middle;
		else
			high = middle;
	}
	*offset = token - plan->starts[low];
	return low;
}

uint64_t d2v_text_plan_substitute(const d2v_text_plan *plan, uint64_t epoch, uint64_t damaged, uint32_t attempt) {
	uint64_t full = plan->blocks - (plan->rest != 0);
	if (!full)
		return damaged;
	d2v_random_key key = d2v_random_key_make(plan->seed, D2V_RANDOM_SUBSTITUTE, epoch, damaged);
	return d2v_random_permute(key, full, attempt % full);
}
