// Batches of text from a data set of shards: blocks of tokens cut from the stream of a split, with random masks.
//
// The stream of batches is a function of the data set (its dictionary included) and the options; of
// d2v_prefetch_options those above the line reach it. Every draw is keyed by (seed, epoch, block). Opening reads the
// index and the dictionary only. Ranks, threads, damage and seeking are the prefetcher's (loaders/prefetcher.h); a
// damaged record costs the blocks that lie in it, each replaced by another full one.
// A batch holds the model's ids: <s>, then a block's tokens through DATASET/tokenizer/dict.txt, the end of a line as
// </s>, a token without an entry as <unk>. One block of a split, its last, may be shorter: it is padded on the right
// with <pad>, and that batch alone has `valid`. ids are the numbers of the blocks in the stream. The M masks of a block
// are drawn over all its positions, <s> and padding included (model.md 5.4). For evaluation blocks come in the order of
// the stream, every epoch alike, without masks. Threads: one thread calls (statistics and tell too).
#ifndef D2V_LOADERS_TEXT_SOURCE_H
#define D2V_LOADERS_TEXT_SOURCE_H

#include "loaders/masks.h"
#include "loaders/prefetch_options.h"
#include "loaders/text_plan.h"

typedef struct d2v_text_options {
	d2v_prefetch_options common;
	d2v_text_limits limits;
	int32_t clone_batch;     // M
	d2v_mask_settings masks; // of single positions: mask_length 1, only mask_prob counts
	bool eval;               // in order, unmasked
} d2v_text_options;

// The settings of the published base recipe (one worker); common.data remains to be set.
void d2v_text_options_init(d2v_text_options *options);

d2v_status d2v_text_source_open(d2v_source **source, const d2v_text_options *options, d2v_error *err);
// The plan behind the source, borrowed until it is closed: for --plan and for statistics.
const d2v_text_plan *d2v_text_source_plan(const d2v_source *source);
// Rows that the model's embedding table must have: ids lie below.
uint32_t d2v_text_source_rows(const d2v_source *source);

#endif
