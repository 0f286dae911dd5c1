// A record: one sample as it lies in a shard. docs/format.md describes the bytes.
//
//     header (64 bytes, little-endian) | name | text | zeros up to a multiple of 16 | payload
//
// The header holds schema, codec, flags, label, what the payload's numbers mean, the lengths of the parts, and a digest: the XXH3-64
// of everything after the header, seeded with the XXH3-64 of the header with the digest field zero. One flipped bit anywhere is found.
// Names (1 byte or more) and texts are UTF-8 without NUL. Threads: plain functions on plain values.
#ifndef D2V_SHARDS_RECORD_H
#define D2V_SHARDS_RECORD_H

#include "base/error.h"
#include "base/modality.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define D2V_RECORD_HEADER 64
#define D2V_RECORD_ALIGN 16 // of the payload within the record; shards place records at multiples of 16 too
#define D2V_RECORD_SCHEMA 1
// What no record exceeds; sizes from a file are bounded by these before use.
#define D2V_RECORD_NAME_MAX 511 // the longest key of LMDB
#define D2V_RECORD_TEXT_MAX (1u << 20)
#define D2V_RECORD_PAYLOAD_MAX (1u << 30)
#define D2V_RECORD_NO_LABEL (-1)

typedef enum d2v_codec {
	D2V_CODEC_PCM16 = 1, // i16 samples, mono
	D2V_CODEC_FLAC = 2,  // a FLAC stream, mono 16 bit
	D2V_CODEC_JPEG = 3,
	D2V_CODEC_RGB8 = 4,  // u8 (height, width, 3)
	D2V_CODEC_TOK16 = 5, // u16 tokens
	D2V_CODEC_TOK32 = 6, // u32 tokens
	D2V_CODEC_PNG = 7,   // a PNG file, as it was
} d2v_codec;


typedef struct d2v_record {
	uint8_t codec; // d2v_codec
	uint8_t flags; // 0 so far
	int32_t label; // class, or D2V_RECORD_NO_LABEL
	uint32_t rate; // audio: samples per second; images: width
	uint32_t rows; // audio: channels (1); images: height; text: number of documents that end in the block
	uint64_t units; // audio: samples; images: pixels; text: tokens. The length that statistics and bucketing use
	const char *name; // not NUL-terminated; borrowed from whoever filled the struct
	uint32_t name_size;
	const char *text; // label or transcript
	uint32_t text_size;
	const void *payload;
	uint64_t payload_size;
	uint64_t digest; // filled by parse and encode
} d2v_record;

// True for UTF-8 without NUL: what a name or a text must be.
bool d2v_record_is_text(const char *text, size_t size);
// Bytes the record takes. D2V_INVALID when a part is larger than its bound, the name empty, name or text no text, the codec unknown.
d2v_status d2v_record_size(const d2v_record *record, size_t *size, d2v_error *err);
// Writes exactly that many bytes and sets record->digest.
void d2v_record_encode(d2v_record *record, void *out);
// A view of `size` bytes that begin with a record and, when it is shorter, go on with zeros. Pointers in *record are borrowed from
// `bytes`. Lengths are always checked; with `verify` also the digest, the zeros and the texts.
// D2V_CORRUPT, or D2V_UNSUPPORTED for another schema; the message does not name file or record (the caller knows: d2v_error_prefix).
d2v_status d2v_record_parse(const void *bytes, size_t size, bool verify, d2v_record *record, d2v_error *err);

const char *d2v_codec_name(d2v_codec codec); // "pcm16", ..., "unknown"
d2v_status d2v_codec_from_name(const char *name, d2v_codec *codec, d2v_error *err);

#endif
