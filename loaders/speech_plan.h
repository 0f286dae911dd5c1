// Which utterances make which batch, from the index alone.
//
// Utterances shorter than min_sample_size are left out; the others are sorted by min(length, max_sample_size), longest
// first, and cut into runs: a batch is closed when one more would make count > batch_size or count * longest >
// max_tokens (recipes.md section 3), or would not make as many frames where `frames` asks for that. The lengths at each
// place of that order are the same in every epoch, so the runs are too; what an epoch draws is which of the equally
// long utterances stands where: a keyed permutation of each group of equals, computed on the fly. Hence planning costs
// one sort when opening and nothing per epoch, and any place of any epoch can be looked up at once. Life: make -> any
// number of threads look things up -> release.
#ifndef D2V_LOADERS_SPEECH_PLAN_H
#define D2V_LOADERS_SPEECH_PLAN_H

#include "base/error.h"
#include "loaders/frames.h"
#include "shards/shard_index.h"

typedef struct d2v_speech_limits {         // fairseq's names
	uint64_t max_tokens;                   // audio samples of a batch, count * longest; 0: no limit
	uint32_t batch_size;                   // utterances; 0: no limit
	uint32_t required_batch_size_multiple; // sizes are smaller than this or divisible by it; 0 is 1
	uint32_t min_sample_size;
	uint32_t max_sample_size;      // longer ones are cropped; 0: never
	const d2v_frames_spec *frames; // only utterances that make equally many frames share a batch; NULL: any do
} d2v_speech_limits;

typedef struct d2v_speech_plan {
	uint64_t seed;
	uint64_t samples;   // long enough ones
	uint64_t too_short; // left out
	uint64_t dropped;   // of the last batch, when its size did not suit the multiple
	uint64_t batches;
	uint32_t *sorted;  // (samples) ordinals in the data set, longest first, equals ascending
	uint32_t *lengths; // (samples) min(length, max_sample_size) at each place
	uint32_t *starts;  // (batches + 1) places
	uint32_t *ties;    // (tie_count + 1) places where a group of equals begins
	uint64_t tie_count;
	uint32_t largest_batch; // utterances
	uint64_t longest;       // uncropped length of the longest utterance
} d2v_speech_plan;

// rows: the index of the whole split. D2V_INVALID when the limits leave nothing or an utterance does not fit a batch.
d2v_status d2v_speech_plan_make(d2v_speech_plan *plan, const d2v_index_row *rows, uint64_t count,
	const d2v_speech_limits *limits, uint64_t seed, d2v_error *err);
void d2v_speech_plan_release(d2v_speech_plan *plan);

// The utterance at a place of an epoch's order.
uint32_t d2v_speech_plan_sample(const d2v_speech_plan *plan, uint64_t epoch, uint64_t place);
// All utterances of batch b are cropped to this.
static inline uint32_t d2v_speech_plan_target(const d2v_speech_plan *plan, uint64_t b) {
	return plan->lengths[plan->starts[b + 1] - 1];
}
// An utterance of at least `length` samples for attempt 0, 1, ... to replace `damaged`: a function of its arguments.
uint32_t d2v_speech_plan_substitute(
	const d2v_speech_plan *plan, uint64_t epoch, uint32_t damaged, uint32_t length, uint32_t attempt);

#endif
