// The synsets of ImageNet's validation pictures: a text file whose line i is that of picture i, counted from 1.
//
// Life: load -> find ... -> free. Threads: any may find.
#ifndef D2V_INGEST_VAL_LABELS_H
#define D2V_INGEST_VAL_LABELS_H

#include "base/error.h"
#include "ingest/download.h"

#include <stdint.h>

// 50,000 lines; what the original's scripts take.
#define D2V_VAL_LABELS_URL \
	"https://raw.githubusercontent.com/tensorflow/models/master/research/slim/datasets/" \
	"imagenet_2012_validation_synset_labels.txt"

typedef struct d2v_val_labels d2v_val_labels;

// where: a file, or an http(s) address.
d2v_status d2v_val_labels_load(
	d2v_val_labels **labels, const char *where, const d2v_download_options *download, d2v_error *err);
void d2v_val_labels_free(d2v_val_labels *labels); // NULL is allowed
// The synset of picture `number`, borrowed; NULL: the file has no such line.
const char *d2v_val_labels_find(const d2v_val_labels *labels, uint64_t number);
uint64_t d2v_val_labels_count(const d2v_val_labels *labels);
uint64_t d2v_val_labels_digest(const d2v_val_labels *labels); // of the file's bytes

#endif
