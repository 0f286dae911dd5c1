// The decoding step of an ingest, one per modality: the bytes of a file of the source become the payload of a record.
//
// A layout names its decoder; the pipeline, the manifest and the messages ask it for whatever differs between sound and
// pictures. Each worker of the pipeline has a state of its own: open -> (decode -> trim) ... -> close.
// Internal to ingest/, but for the names.
#ifndef D2V_INGEST_DECODER_H
#define D2V_INGEST_DECODER_H

#include "base/modality.h"
#include "ingest/budget.h"
#include "ingest/ingest.h"
#include "ingest/item.h"
#include "shards/manifest.h"

#include <jansson.h>

typedef struct d2v_decoder_file { // a file as it was read (d2v_reserve); of one worker, kept from file to file
	unsigned char *bytes;
	size_t capacity, size;
} d2v_decoder_file;

typedef struct d2v_decoder {
	d2v_modality modality;
	const char *record, *records; // what people call them: "recording", "recordings"
	// Adds the options that decide the bytes: the keys belong to the manifest, so they never change their meaning.
	d2v_status (*describe)(const d2v_ingest_options *options, json_t *described, d2v_error *err);
	// Bytes of shards that an official source will make, as far as that is known beforehand; 0: it is not.
	double (*expect)(const d2v_ingest_options *options, const d2v_ingest_source *source);
	// How far and how fast, in the modality's own terms, for the progress line: "12.10 h  9100x real time".
	void (*tell)(
		const d2v_ingest_options *options, const d2v_ingest_result *result, double seconds, char *text, size_t size);
	// Before the first file, and when all shards are there and the manifest knows them; both may be NULL.
	d2v_status (*begin)(const d2v_ingest_options *options, d2v_error *err);
	d2v_status (*finish)(const d2v_ingest_options *options, const d2v_manifest *manifest, d2v_error *err);
	d2v_status (*open)(void **worker, const d2v_ingest_options *options, d2v_error *err);
	// item is a sample whose bytes are in *file and charged to the budget. It becomes one with a payload, or a rejected
	// one; its charge is set right. What is in *file may be exchanged for another buffer. D2V_END: the budget was
	// stopped.
	d2v_status (*decode)(void *worker, d2v_item *item, d2v_decoder_file *file, const d2v_ingest_options *options,
		d2v_budget *budget, uint64_t ticket, d2v_error *err);
	void (*trim)(void *worker, size_t keep); // lets go buffers that are larger than `keep` bytes
	void (*close)(void *worker);             // NULL is allowed
} d2v_decoder;

extern const d2v_decoder d2v_audio_item, d2v_image_item, d2v_text_item;

// The file becomes the item's payload as it is; the worker gets the item's old buffer for the next file.
void d2v_decoder_keep_file(d2v_item *item, d2v_decoder_file *file);

#endif
