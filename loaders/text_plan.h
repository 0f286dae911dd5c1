// Which tokens make which batch, from the index alone.
//
// The tokens of a split are one stream, cut every tokens_per_sample - 1 (sample_break_mode none: documents go on over
// the cut); a sample is such a block, numbered in the stream's order, and only the last one may be shorter. As in
// recipes.md section 3 blocks are sorted by length, the shortest first, equals in a permutation that the seed fixes for
// the run, and runs of batch_size of them make the batches. A block may lie in several records: where it begins is
// looked up in the sums over the index. Nothing is stored per block. Life: make -> any number of threads look things
// up -> release.
#ifndef D2V_LOADERS_TEXT_PLAN_H
#define D2V_LOADERS_TEXT_PLAN_H

#include "base/error.h"
#include "shards/shard_index.h"

#include <stdbool.h>

typedef struct d2v_text_limits {           // fairseq's names
	uint32_t tokens_per_sample;            // with the <s> that is put in front
	uint32_t batch_size;                   // blocks; 0: no limit
	uint64_t max_tokens;                   // of a batch, count * tokens_per_sample; 0: no limit
	uint32_t required_batch_size_multiple; // sizes are smaller than this or divisible by it; 0 is 1
} d2v_text_limits;

typedef struct d2v_text_plan {
	uint64_t seed;
	bool sequential; // blocks in the stream's order, and the last batch is never dropped
	uint64_t tokens; // of the stream
	uint32_t length; // tokens of a block: tokens_per_sample - 1
	uint64_t blocks;
	uint32_t rest;  // tokens of the last block when it is shorter than the others; 0: it is not
	uint32_t batch; // blocks of every batch but maybe the last
	uint64_t batches;
	uint64_t dropped; // blocks of the last batch, when its size did not suit the multiple
	uint64_t records;
	uint64_t *starts; // (records + 1) tokens before each record
} d2v_text_plan;

// rows: the index of the whole split. D2V_INVALID when the limits leave nothing.
d2v_status d2v_text_plan_make(d2v_text_plan *plan, const d2v_index_row *rows, uint64_t count,
	const d2v_text_limits *limits, bool sequential, uint64_t seed, d2v_error *err);
void d2v_text_plan_release(d2v_text_plan *plan);

// Blocks of batch b, and tokens of the longest of them, <s> included.
uint32_t d2v_text_plan_size(const d2v_text_plan *plan, uint64_t b);
uint32_t d2v_text_plan_width(const d2v_text_plan *plan, uint64_t b);
// True when one of the batch's blocks is shorter than the others.
bool d2v_text_plan_pads(const d2v_text_plan *plan, uint64_t b);
// The block at place `at` of batch b.
uint64_t d2v_text_plan_block(const d2v_text_plan *plan, uint64_t b, uint64_t at);
// Tokens of a block, and the record that its first one lies in; *offset: tokens of that record before it.
uint32_t d2v_text_plan_tokens(const d2v_text_plan *plan, uint64_t block);
uint64_t d2v_text_plan_record(const d2v_text_plan *plan, uint64_t block, uint64_t *offset);
// A full block (when there is one) to stand in for a damaged one, for attempt 0, 1, ...: a function of its arguments.
uint64_t d2v_text_plan_substitute(const d2v_text_plan *plan, uint64_t epoch, uint64_t damaged, uint32_t attempt);

#endif
