#include "tools/shard_page.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/record.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void shard_page_init(shard_page *page) {
	*page = (shard_page){ 0 };
}

void shard_page_release(shard_page *page) {
	d2v_free(page->html);
	shard_page_init(page);
}

// Room for `size` more bytes and a NUL; false: there is none.
static bool make_room(shard_page *page, size_t size) {
	return page->err.status == D2V_OK &&
		   d2v_reserve(&page->html, &page->capacity, page->size + size + 1, 1, &page->err) == D2V_OK;
}

static void add(shard_page *page, const char *bytes, size_t size) {
	if (!make_room(page, size))
		return;
	memcpy(page->html + page->size, bytes, size);
	page->size += size;
}

void shard_page_write(shard_page *page, const char *format, ...) {
	va_list args;
	va_start(args, format);
	int size = vsnprintf(NULL, 0, format, args);
	va_end(args);
	D2V_ASSERT(size >= 0);
	if (!make_room(page, (size_t)size))
		return;
	va_start(args, format);
	vsnprintf(page->html + page->size, (size_t)size + 1, format, args);
	va_end(args);
	page->size += (size_t)size;
}

static const char *escaped(char letter) {
	switch (letter) {
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '&':
		return "&amp;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return (unsigned char)letter < 0x20 && letter != '\n' && letter != '\t' ? "\xEF\xBF\xBD" : NULL;
	}
}

// Bytes of the letter at `text`; 0: it is none.
static size_t letter_size(const char *text, size_t left) {
	for (size_t size = 1; size <= 4 && size <= left; size++)
		if (d2v_record_is_text(text, size))
			return size;
	return 0;
}

void shard_page_text(shard_page *page, const char *text, size_t size) {
	for (size_t at = 0; at < size;) {
		size_t letter = letter_size(text + at, size - at);
		const char *instead = letter == 1 ? escaped(text[at]) : letter ? NULL : "\xEF\xBF\xBD";
		if (instead)
			add(page, instead, strlen(instead));
		else
			add(page, text + at, letter);
		at += letter ? letter : 1;
	}
}

void shard_page_data(shard_page *page, const char *type, const void *bytes, size_t size) {
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *from = bytes;
	shard_page_write(page, "data:%s;base64,", type);
	if (!make_room(page, size / 3 * 4 + 4))
		return;
	char *to = page->html + page->size;
	for (size_t at = 0; at < size; at += 3) {
		size_t left = size - at;
		unsigned group = (unsigned)from[at] << 16 | (left > 1 ? (unsigned)from[at + 1] << 8 : 0) |
						 (left > 2 ? (unsigned)from[at + 2] : 0);
		*to++ = letters[group >> 18];
		*to++ = letters[group >> 12 & 63];
		*to++ = left > 1 ? letters[group >> 6 & 63] : '=';
		*to++ = left > 2 ? letters[group & 63] : '=';
	}
	page->size = (size_t)(to - page->html);
}

d2v_status shard_page_publish(const shard_page *page, const char *path, d2v_error *err) {
	if (page->err.status != D2V_OK)
		return d2v_fail(err, page->err.status, "%s", page->err.text);
	return d2v_file_replace(path, page->html, page->size, err);
}
