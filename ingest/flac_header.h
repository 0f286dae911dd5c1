// What a FLAC stream says about itself, read from its bytes without decoding.
//
// libFLAC finds any damage inside a frame by the frame's own checksums, but the STREAMINFO block has none: a flipped
// bit there gives another sample rate, width or length without an error. So the facts it states are held against the
// first and the last frame header, which have a CRC-8 each. (The MD5 of the samples would find the same, at 0.6 of the
// decoding's cost.)
#ifndef D2V_INGEST_FLAC_HEADER_H
#define D2V_INGEST_FLAC_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct d2v_flac_header {
	uint32_t rate, channels, bits;
	uint64_t samples; // per channel; 0: the stream does not say
	size_t md5_at;    // of the samples, 16 bytes; all zero: not stated
	size_t frames_at; // where the first frame starts
} d2v_flac_header;

// False: not a FLAC stream (an ID3v2 tag before it is skipped), or its metadata runs past the end.
bool d2v_flac_header_parse(const void *bytes, size_t size, d2v_flac_header *header);
// NULL when the first and last frame agree with the header; otherwise what does not, in words.
const char *d2v_flac_header_contradiction(const void *bytes, size_t size, const d2v_flac_header *header);

#endif
