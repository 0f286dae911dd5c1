// Watches whether representations collapse: whether the student's local features, the teacher's targets or the
// predictions become the same everywhere (spread near 0) or lose all but one direction (effective rank near 1).
//
// Spread is the mean over channels of the standard deviation over positions. Effective rank is the participation ratio
// of the covariance's eigenvalues, (sum l)^2 / sum l^2: 1 when all variance lies in one direction, D when it is equal
// in all. Both are taken from a few hundred positions and averaged over looks. What has collapsed is said once in a
// sentence, and again only after it recovered. Predictions start near 0, so they are judged only once they were
// healthy.
//
// The state is a plain value, stored in checkpoints and a function of the run alone. One thread.
#ifndef D2V_TRAIN_COLLAPSE_H
#define D2V_TRAIN_COLLAPSE_H

#include "base/json.h"
#include "train/model.h"

typedef enum d2v_watched {
	D2V_WATCHED_FEATURES,
	D2V_WATCHED_TARGETS,
	D2V_WATCHED_PREDICTIONS,
	D2V_WATCHED_COUNT
} d2v_watched;
const char *d2v_watched_name(d2v_watched watched); // "local features", ...

typedef struct d2v_spread {
	double spread, rank;
} d2v_spread;

typedef struct d2v_collapse {
	uint64_t looks;
	struct {
		d2v_spread average; // over the looks, the newest counting most
		double first;       // spread of the first look
		bool healthy;       // was above the limits at least once
		bool collapsed;     // and the sentence was said
	} watched[D2V_WATCHED_COUNT];
} d2v_collapse;

typedef struct d2v_collapse_limits {
	double min_target_var, min_pred_var; // spreads; 0: the published 0.1 and 0.01
} d2v_collapse_limits;

// rows: (count, width) in host memory. D2V_NO_MEMORY.
d2v_status d2v_spread_measure(const float *rows, int64_t count, int64_t width, d2v_spread *spread, d2v_error *err);

// Looks at the step just done. *sentences: empty, or what there is to say, one sentence a line.
#define D2V_COLLAPSE_TEXT 1024
d2v_status d2v_collapse_look(d2v_collapse *collapse, d2v_model *model, const d2v_batch *batch,
	const d2v_collapse_limits *limits, char sentences[D2V_COLLAPSE_TEXT], d2v_error *err);
// The same on numbers that were measured already.
void d2v_collapse_judge(d2v_collapse *collapse, const d2v_spread now[D2V_WATCHED_COUNT], int64_t width,
	const d2v_collapse_limits *limits, char sentences[D2V_COLLAPSE_TEXT]);

// For checkpoints: exact. The caller owns *tree.
d2v_status d2v_collapse_tree(const d2v_collapse *collapse, json_t **tree, d2v_error *err);
d2v_status d2v_collapse_read(d2v_collapse *collapse, const json_t *tree, const char *where, d2v_error *err);

#endif
