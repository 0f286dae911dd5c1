// A labelled data set cut into what a probe learns from and what it is tried on, and the features of both.
//
// The samples tried on are a split of the data set's own when there is one (test, val, valid or dev), otherwise a fifth
// that a keyed draw holds back. Classes are the manifest's; where it has none, the distinct labels in ascending order.
// Samples without a label, and those too short for the model, are left out.
// Life: open -> features, again and again for different models of one configuration -> close. One thread.
#ifndef D2V_TOOLS_LABELLED_DATA_H
#define D2V_TOOLS_LABELLED_DATA_H

#include "eval/feature_reader.h"
#include "eval/labelled.h"
#include "tools/open_source.h"

typedef struct d2v_labelled_wanted {
	const char *data;         // folder of the data set
	const char *train, *test; // splits; NULL: chosen as above
	uint64_t seed;            // of the draw that holds samples back
	uint64_t most;            // samples of each half, evenly spread; 0: all
	int64_t threads;          // loader threads
	bool (*stop_asked)(void); // or NULL
	bool quiet;               // no progress line
} d2v_labelled_wanted;

typedef struct d2v_labelled_data d2v_labelled_data;

// D2V_INVALID when the data set's modality is not the configuration's, or when it has fewer than two classes.
d2v_status d2v_labelled_data_open(d2v_labelled_data **data, const d2v_labelled_wanted *wanted, const d2v_config *config,
	d2v_device *device, d2v_error *err);
void d2v_labelled_data_close(d2v_labelled_data *data); // NULL is allowed
int32_t d2v_labelled_data_classes(const d2v_labelled_data *data);
const char *d2v_labelled_data_test(const d2v_labelled_data *data); // the split tried on, or "held out of SPLIT"

// Borrowed until the next call or close.
d2v_status d2v_labelled_data_features(d2v_labelled_data *data, d2v_model *model, const d2v_feature_settings *settings,
	d2v_labelled *train, d2v_labelled *test, d2v_error *err);

#endif
