// Features of whole samples: runs a model over batches without masks and brings one vector per sample, or one per
// token, to the host.
//
// Of a sample only its own tokens count: neither padding nor extra tokens enter a mean or come out as rows.
// Life: new -> read ... -> free. The model is borrowed until free; a training step may come between two reads, since
// nothing of the model's own state is touched. One thread.
#ifndef D2V_EVAL_FEATURE_READER_H
#define D2V_EVAL_FEATURE_READER_H

#include "loaders/source.h"
#include "train/model.h"

typedef enum d2v_pooling {
	D2V_POOLING_MEAN,  // over the sample's tokens
	D2V_POOLING_FIRST, // the first extra token
	D2V_POOLING_NONE,  // every token of the sample
} d2v_pooling;

#define D2V_LAYER_LAST 0    // the output of the last block
#define D2V_LAYER_MEAN (-1) // the mean over what all trunk blocks hand to the targets
typedef struct d2v_feature_settings {
	bool teacher;  // the teacher's weights, and the student's where it has none
	int64_t layer; // one of the above, or what trunk block 1, 2, ... hands to the targets
	d2v_pooling pooling;
} d2v_feature_settings;

typedef struct d2v_feature_rows { // of a batch; borrowed until the next read
	const float *rows;            // (first[samples], width)
	const int64_t *first;         // (samples + 1) where each sample's rows begin
	int64_t samples, width;
} d2v_feature_rows;

typedef struct d2v_feature_reader d2v_feature_reader;

// D2V_INVALID for a layer that the model does not have.
d2v_status d2v_feature_reader_new(
	d2v_feature_reader **reader, d2v_model *model, const d2v_feature_settings *settings, d2v_error *err);
void d2v_feature_reader_free(d2v_feature_reader *reader); // NULL is allowed
d2v_status d2v_feature_reader_read(
	d2v_feature_reader *reader, const d2v_batch *batch, d2v_feature_rows *rows, d2v_error *err);

// Pooled features of one epoch of a source whose batches are whole samples: row batch->ids[i] of rows (count, width) is
// filled and have[ids[i]] set to 1. With `most` above 0 only so many evenly spread batches are read that they hold
// about that many samples. After every batch looked is called (may be NULL), with the batches that are read of all: false
// ends it with D2V_INTERRUPTED.
typedef struct d2v_feature_table {
	float *rows;   // (count, width)
	uint8_t *have; // (count)
	uint64_t count;
} d2v_feature_table;
typedef bool d2v_feature_progress(void *context, uint64_t batches, uint64_t of);
d2v_status d2v_feature_reader_collect(d2v_feature_reader *reader, d2v_source *source, uint64_t most,
	d2v_feature_progress *looked, void *context, d2v_feature_table *table, d2v_error *err);

#endif
