// A record as a file of its own, which other programs read: a WAV or FLAC file of a recording, a PNG file of a picture.
//
// The ending says what is wanted: "wav" and "flac" of sound, "png" of pictures, "jpg" of those stored so. A payload
// that is stored as such a file already is handed out as it lies (a stored FLAC stream as "flac"); otherwise it is
// decoded and encoded. "raw" is the payload's bytes whatever they are. Threads: plain functions.
#ifndef D2V_SHARDS_PAYLOAD_FILE_H
#define D2V_SHARDS_PAYLOAD_FILE_H

#include "shards/record.h"

typedef struct d2v_payload_file {
	const void *bytes; // borrowed from the record or from `owned`
	size_t size;
	void *owned;
} d2v_payload_file;

// The ending that loses nothing: "wav" for pcm16, "flac" for flac, ..., "raw" for what has no other file of its own.
const char *d2v_payload_file_ending(const d2v_record *record);
// Without the dot, any case. D2V_INVALID, with the endings there are, when a record of this codec cannot be such a
// file; D2V_CORRUPT when the payload cannot be decoded. Messages name neither file nor record.
d2v_status d2v_payload_file_make(d2v_payload_file *file, const d2v_record *record, const char *ending, d2v_error *err);
void d2v_payload_file_release(d2v_payload_file *file);
// The pixels of a picture, (height, width, 3). *pixels: d2v_free.
d2v_status d2v_payload_file_pixels(
	const d2v_record *record, uint8_t **pixels, uint32_t *width, uint32_t *height, d2v_error *err);

#endif
