#include "ingest/utf8.h"

#include <stdint.h>

size_t d2v_utf8_sequence(const char *text, size_t size) {
	if (!size)
		return 0;
	unsigned char lead = (unsigned char)text[0];
	if (lead < 0x80)
		return 1;
	size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
					: lead >= 0xe0 && lead < 0xf0 ? 3
					: lead >= 0xf0 && lead < 0xf5 ? 4
												  : 0;
	if (!length || length > size)
		return 0;
	uint32_t code = lead & (0xffu >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		unsigned char byte = (unsigned char)text[i];
		if ((byte & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (byte & 0x3f);
	}
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return length;
}

bool d2v_utf8_is_text(const char *text, size_t size) {
	for (size_t i = 0; i < size;) {
		size_t length = d2v_utf8_sequence(text + i, size - i);
		if (!length || !text[i])
			return false;
		i += length;
	}
	return true;
}

bool d2v_utf8_has_control(const char *text, size_t size) {
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = (unsigned char)text[i];
		if (byte < 0x20 || byte == 0x7f)
			return true;
		if (byte == 0xc2 && i + 1 < size && (unsigned char)text[i + 1] < 0xa0)
			return true;
	}
	return false;
}
