// An audio file in memory becomes mono 16-bit samples at the rate the data set has.
//
// FLAC, WAV, OGG, MP3 and whatever else libsndfile reads. Mono 16-bit audio at the wanted rate gives its samples
// exactly as they are; anything else is decoded to float, mixed to mono (the mean of the channels), resampled if need
// be, and rounded once at the end. libsndfile is named in audio_file.c and shards/codec_audio.c only.
//
// A file that cannot be used is no error: the functions return D2V_OK with rejection->reason set. Damage is looked for,
// not hoped for: a short read, an error of the decoder, a container that ends before it says, a FLAC header that
// contradicts its frames. The status is for our own troubles (no memory). Life: open -> bound -> read -> close. `bytes`
// are borrowed until close. Threads: one each.
#ifndef D2V_INGEST_AUDIO_FILE_H
#define D2V_INGEST_AUDIO_FILE_H

#include "base/error.h"
#include "ingest/rejection.h"

#include <stdint.h>

typedef struct d2v_audio_file d2v_audio_file;

typedef struct d2v_audio_limits {
	uint32_t rate;        // of the samples wanted
	uint64_t max_samples; // at that rate
	bool check_md5; // hold a FLAC file's samples against the MD5 in its header; costs about half of the decoding again
} d2v_audio_limits;

// *file is NULL when the file was rejected.
d2v_status d2v_audio_file_open(d2v_audio_file **file, const void *bytes, size_t size, const d2v_audio_limits *limits,
	d2v_rejection *rejection, d2v_error *err);
// No more samples than this will come: what to have memory for.
uint64_t d2v_audio_file_bound(const d2v_audio_file *file);
// True when the file is FLAC, mono, 16 bit and at the wanted rate: its bytes may be stored as they are.
bool d2v_audio_file_is_plain_flac(const d2v_audio_file *file);
// All samples into *samples (d2v_reserve: grown as needed, kept by the caller for the next file).
d2v_status d2v_audio_file_read(d2v_audio_file *file, int16_t **samples, size_t *capacity, uint64_t *count,
	d2v_rejection *rejection, d2v_error *err);
void d2v_audio_file_close(d2v_audio_file *file); // NULL is allowed

#endif
