#include "ingest/flac_header.h"

#include <string.h>

// RFC 9639. A frame: sync and blocking strategy (2 bytes), sizes (2 bytes), coded number (1 to 7), further sizes,
// CRC-8.
#define LAST_FRAME_SEARCH \
	((size_t)1 << 20) // a frame of 65,535 samples of 8 channels at 24 bit is 1.6 MB; usual is 16 KB

static uint32_t big_endian(const unsigned char *at, int bytes) {
	uint32_t value = 0;
	for (int i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

static size_t skip_id3(const unsigned char *bytes, size_t size) {
	if (size < 10 || memcmp(bytes, "ID3", 3) != 0)
		return 0;
	size_t tag = 10 + ((size_t)(bytes[6] & 0x7f) << 21 | (size_t)(bytes[7] & 0x7f) << 14 |
						  (size_t)(bytes[8] & 0x7f) << 7 | (size_t)(bytes[9] & 0x7f));
	return tag < size ? tag : 0;
}

bool d2v_flac_header_parse(const void *data, size_t size, d2v_flac_header *header) {
	const unsigned char *bytes = data;
	size_t at = skip_id3(bytes, size);
	if (size - at < 42 || memcmp(bytes + at, "fLaC", 4) != 0 || (bytes[at + 4] & 0x7f) != 0 ||
		big_endian(bytes + at + 5, 3) != 34)
		return false;
	const unsigned char *info = bytes + at + 8;
	header->rate = big_endian(info + 10, 3) >> 4;
	header->channels = ((info[12] >> 1) & 7u) + 1;
	header->bits = ((info[12] & 1u) << 4 | info[13] >> 4) + 1;
	header->samples = (uint64_t)(info[13] & 0x0f) << 32 | big_endian(info + 14, 4);
	header->md5_at = at + 26;
	at += 4;
	for (bool last = false; !last;) {
		if (size - at < 4)
			return false;
		last = bytes[at] & 0x80;
		size_t block = 4 + (size_t)big_endian(bytes + at + 1, 3);
		if (size - at < block)
			return false;
		at += block;
	}
	header->frames_at = at;
	return true;
}

typedef struct frame_header {
	bool variable;
	uint32_t samples, rate, channels, bits; // rate, bits: 0 when the frame leaves them to STREAMINFO
	uint64_t number;                        // of the frame, or of its first sample when variable
} frame_header;

static uint8_t crc8(const unsigned char *bytes, size_t size) {
	uint8_t crc = 0;
	for (size_t i = 0; i < size; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (uint8_t)(crc & 0x80 ? crc << 1 ^ 0x07 : crc << 1);
	}
	return crc;
}

// The coded number is UTF-8's scheme drawn out to seven bytes. Returns its length, 0 when it is none.
static size_t coded_number(const unsigned char *at, size_t size, uint64_t *value) {
	size_t length = 0;
	while (length < 8 && (at[0] & 0x80u >> length))
		length++;
	if (length == 1 || length == 8 || size < (length ? length : 1))
		return 0;
	*value = length ? at[0] & (0x7fu >> length) : at[0];
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		*value = *value << 6 | (at[i] & 0x3f);
	}
	return length ? length : 1;
}

static bool parse_frame(const unsigned char *at, size_t size, frame_header *frame) {
	static const uint32_t rates[] = { 0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000 };
	static const uint32_t widths[] = { 0, 8, 12, 0, 16, 20, 24, 32 };
	if (size < 6 || at[0] != 0xff || (at[1] & 0xfe) != 0xf8 || (at[3] & 1))
		return false;
	unsigned block = at[2] >> 4, rate = at[2] & 15u, layout = at[3] >> 4, width = at[3] >> 1 & 7u;
	if (!block || rate == 15 || layout > 10 || width == 3)
		return false;
	frame->variable = at[1] & 1;
	frame->channels = layout < 8 ? layout + 1 : 2;
	frame->bits = widths[width];
	size_t number = coded_number(at + 4, size - 4, &frame->number);
	size_t used = 4 + number, more = (block == 6) + 2u * (block == 7) + (rate == 12) + 2u * (rate >= 13);
	if (!number || size < used + more + 1)
		return false;
	if (block == 6 || block == 7) {
		frame->samples = big_endian(at + used, block == 6 ? 1 : 2) + 1;
		used += block == 6 ? 1 : 2;
	} else
		frame->samples = block == 1 ? 192 : block < 6 ? 576u << (block - 2) : 256u << (block - 8);
	if (rate >= 12) {
		uint32_t coded = big_endian(at + used, rate == 12 ? 1 : 2);
		frame->rate = rate == 12 ? coded * 1000 : rate == 13 ? coded : coded * 10;
		used += rate == 12 ? 1 : 2;
	} else
		frame->rate = rates[rate];
	return crc8(at, used) == at[used];
}

static const char *differs(const frame_header *frame, const d2v_flac_header *header) {
	if (frame->rate && frame->rate != header->rate)
		return "the sample rate of its header is not that of its frames";
	if (frame->bits && frame->bits != header->bits)
		return "the sample width of its header is not that of its frames";
	if (frame->channels != header->channels)
		return "the number of channels of its header is not that of its frames";
	return NULL;
}

const char *d2v_flac_header_contradiction(const void *data, size_t size, const d2v_flac_header *header) {
	const unsigned char *bytes = data;
	frame_header first, last;
	if (!parse_frame(bytes + header->frames_at, size - header->frames_at, &first))
		return "its first frame is damaged";
	const char *found = differs(&first, header);
	if (found || !header->samples)
		return found;
	// Something in a frame's body may look like a header. So from the end backwards: the first that fits the stated
	// length.
	size_t lowest = header->frames_at;
	if (size - lowest > LAST_FRAME_SEARCH)
		lowest = size - LAST_FRAME_SEARCH;
	for (size_t at = size; at-- > lowest;) {
		if (bytes[at] != 0xff || !parse_frame(bytes + at, size - at, &last) || last.variable != first.variable)
			continue;
		uint64_t start = last.variable ? last.number : last.number * first.samples;
		if (start + last.samples == header->samples && !differs(&last, header))
			return NULL;
	}
	return "the length in its header is not that of its frames";
}
