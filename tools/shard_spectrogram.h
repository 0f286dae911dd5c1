// Sound as a picture: time from left to right, frequency from bottom to top on the mel scale, loudness as colour.
//
// Power spectra of Hann windows of about 25 ms (a power of two of samples), high frequencies raised, in decibels below
// what is loud in it; what is 65 dB or more below that is black.
#ifndef D2V_TOOLS_SHARD_SPECTROGRAM_H
#define D2V_TOOLS_SHARD_SPECTROGRAM_H

#include "tools/shard_picture.h"

// All of the sound on exactly width x height pixels. rate: samples per second, at least 1; count at least 1.
d2v_status shard_spectrogram_draw(const int16_t *samples, uint64_t count, uint32_t rate, uint32_t width,
	uint32_t height, shard_picture *picture, d2v_error *err);
// The record's samples on `height` rows and one column for every 10 ms, at most max_width.
d2v_status shard_spectrogram_of_record(
	const d2v_record *record, uint32_t max_width, uint32_t height, shard_picture *picture, d2v_error *err);

#endif
