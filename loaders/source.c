#include "loaders/source.h"

d2v_status d2v_source_next(d2v_source *source, const d2v_batch **batch, d2v_error *err) {
	*batch = NULL;
	return source->methods->next(source, batch, err);
}

void d2v_source_give(d2v_source *source, const d2v_batch *batch) {
	source->methods->give(source, batch);
}

d2v_source_position d2v_source_tell(const d2v_source *source) {
	return source->methods->tell(source);
}

d2v_status d2v_source_seek(d2v_source *source, const d2v_source_position *position, d2v_error *err) {
	return source->methods->seek(source, position, err);
}

d2v_source_stats d2v_source_statistics(d2v_source *source) {
	return source->methods->statistics(source);
}

uint64_t d2v_source_epoch_steps(const d2v_source *source, uint64_t epoch) {
	return source->methods->epoch_steps(source, epoch);
}

void d2v_source_close(d2v_source *source) {
	if (source)
		source->methods->close(source);
}
