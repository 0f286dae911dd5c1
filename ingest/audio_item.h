// The decoding step of the pipeline for audio: the bytes of a file become an item's payload. Internal to ingest/.
#ifndef D2V_INGEST_AUDIO_ITEM_H
#define D2V_INGEST_AUDIO_ITEM_H

#include "ingest/budget.h"
#include "ingest/ingest.h"
#include "ingest/item.h"

typedef struct d2v_audio_buffers { // of one worker, kept from file to file
	unsigned char *bytes;          // of the file as it was read
	size_t capacity, size;
	int16_t *samples;
	size_t samples_capacity;
} d2v_audio_buffers;

void d2v_audio_buffers_release(d2v_audio_buffers *buffers);
// Lets go what is larger than `keep` bytes.
void d2v_audio_buffers_trim(d2v_audio_buffers *buffers, size_t keep);

// item is a sample with buffers->size bytes read and charged to the budget. It becomes one with a payload, or a
// rejected one; its charge is set right. D2V_END: the budget was stopped.
d2v_status d2v_audio_item_decode(d2v_item *item, d2v_audio_buffers *buffers, const d2v_ingest_options *options,
	d2v_budget *budget, uint64_t ticket, d2v_error *err);

#endif
