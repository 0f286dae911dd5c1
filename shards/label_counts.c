#include "shards/label_counts.h"

#include "base/memory.h"
#include "shards/record.h"

#include <stdlib.h>

static int by_value(const void *a, const void *b) {
	int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
	return left < right ? -1 : left > right;
}

d2v_status d2v_label_counts_make(
	d2v_label_counts *counts, const d2v_index_row *rows, uint64_t records, d2v_error *err) {
	int32_t *labels;
	size_t labelled = 0, capacity = 0;
	*counts = (d2v_label_counts){ 0 };
	D2V_TRY(d2v_alloc(&labels, records, sizeof *labels, err));
	for (uint64_t i = 0; i < records; i++)
		if (rows[i].label != D2V_RECORD_NO_LABEL)
			labels[labelled++] = rows[i].label;
	counts->unlabelled = records - labelled;
	if (labelled)
		qsort(labels, labelled, sizeof *labels, by_value);
	d2v_status status = D2V_OK;
	for (size_t i = 0; i < labelled && status == D2V_OK; i++) {
		if (i == 0 || labels[i] != labels[i - 1]) {
			status = d2v_reserve(&counts->items, &capacity, counts->count + 1, sizeof *counts->items, err);
			if (status == D2V_OK)
				counts->items[counts->count++] = (d2v_label_count){ .label = labels[i] };
		}
		if (status == D2V_OK)
			counts->items[counts->count - 1].records++;
	}
	d2v_free(labels);
	if (status != D2V_OK)
		d2v_label_counts_release(counts);
	return status;
}

void d2v_label_counts_release(d2v_label_counts *counts) {
	d2v_free(counts->items);
	*counts = (d2v_label_counts){ 0 };
}
