#include "ingest/decoder.h"

void d2v_decoder_keep_file(d2v_item *item, d2v_decoder_file *file) {
	d2v_decoder_file old = { .bytes = item->payload, .capacity = item->payload_capacity };
	item->payload = file->bytes;
	item->payload_capacity = file->capacity;
	item->payload_size = file->size;
	*file = old;
}
