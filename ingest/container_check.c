#include "ingest/container_check.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static uint32_t little_endian(const unsigned char *at) {
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

// Programs that write WAV into a pipe do not know the size beforehand and leave 0 or all ones: that is no damage.
static const char *check_wav(const unsigned char *bytes, size_t size) {
	for (size_t at = 12; size - at >= 8;) {
		uint32_t chunk = little_endian(bytes + at + 4);
		bool is_data = memcmp(bytes + at, "data", 4) == 0;
		at += 8;
		if (is_data && (chunk == 0 || chunk >= 0xffffff00u))
			return NULL;
		if (chunk > size - at)
			return is_data ? "cut off: it has fewer samples than its header says" : NULL;
		if (is_data)
			return NULL;
		at += chunk;
		if (chunk & 1 && at < size)
			at++;
	}
	return NULL;
}

// Pages follow each other without a gap; the last one of a stream carries a flag. A page: "OggS", version, flags, ...,
// the number of segments at 26, and their sizes.
static const char *check_ogg(const unsigned char *bytes, size_t size) {
	unsigned flags = 0;
	size_t at = 0;
	while (size - at >= 27 && memcmp(bytes + at, "OggS", 4) == 0) {
		size_t segments = bytes[at + 26], body = 0;
		if (size - at - 27 < segments)
			return "cut off in the middle of a page";
		for (size_t i = 0; i < segments; i++)
			body += bytes[at + 27 + i];
		if (size - at - 27 - segments < body)
			return "cut off in the middle of a page";
		flags = bytes[at + 5];
		at += 27 + segments + body;
	}
	if (at != size && memcmp(bytes + at, "OggS", size - at < 4 ? size - at : 4) == 0)
		return "cut off in the middle of a page";
	if (at != size)
		return "damaged: a page does not follow the one before it";
	return flags & 4 ? NULL : "cut off: its last page is missing";
}

const char *d2v_container_check(const void *data, size_t size) {
	const unsigned char *bytes = data;
	if (size >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WAVE", 4) == 0)
		return check_wav(bytes, size);
	if (size >= 4 && memcmp(bytes, "OggS", 4) == 0)
		return check_ogg(bytes, size);
	return NULL;
}
