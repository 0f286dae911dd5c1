// A page of HTML as it grows in memory. A failure (no memory) is kept: everything after it does nothing, and the end
// tells.
//
// Life: init -> write, text, data ... -> (shard_page_publish) -> release. One thread.
#ifndef D2V_TOOLS_SHARD_PAGE_H
#define D2V_TOOLS_SHARD_PAGE_H

#include "base/error.h"

#include <stddef.h>

typedef struct shard_page {
	char *html;
	size_t size, capacity;
	d2v_error err;
} shard_page;

void shard_page_init(shard_page *page);
void shard_page_release(shard_page *page);
// HTML as it is, printf-like.
void shard_page_write(shard_page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Text of unknown origin: what HTML would take for markup is escaped, what is no UTF-8 or a control character becomes
// U+FFFD.
void shard_page_text(shard_page *page, const char *text, size_t size);
// A file inside the page: "data:TYPE;base64,...", for an attribute between quotes.
void shard_page_data(shard_page *page, const char *type, const void *bytes, size_t size);
// Writes the page to `path`, all or nothing.
d2v_status shard_page_publish(const shard_page *page, const char *path, d2v_error *err);

#endif
