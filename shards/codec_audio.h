// Decoding audio payloads to i16 samples, and encoding FLAC and WAV. libsndfile is named in codec_audio.c and ingest/audio_file.c only.
#ifndef D2V_SHARDS_CODEC_AUDIO_H
#define D2V_SHARDS_CODEC_AUDIO_H

#include "shards/record.h"

// Samples [start, start+count) of a pcm16 or flac record into out. D2V_CORRUPT when the payload does not hold record->units samples.
d2v_status d2v_codec_audio_read(const d2v_record *record, uint64_t start, uint64_t count, int16_t *out, d2v_error *err);
// For pcm16 the samples where they lie, borrowed (little-endian hosts; 2-byte aligned or NULL): no copy.
const int16_t *d2v_codec_audio_view(const d2v_record *record);
// Mono 16-bit FLAC, the same bytes for the same samples. *bytes: d2v_free.
d2v_status d2v_codec_flac_encode(const int16_t *samples, uint64_t count, uint32_t rate, void **bytes, size_t *size, d2v_error *err);
// A WAV file (header and data) of 16-bit mono samples: for `d2v-shard show --out x.wav` and export.
d2v_status d2v_codec_wav_encode(const int16_t *samples, uint64_t count, uint32_t rate, void **bytes, size_t *size, d2v_error *err);

#endif
