// The text of the OpenWebText sample, for tests and benchmarks that want real prose: archives in an archive, as
// distributed.
#ifndef D2V_TESTS_SAMPLE_TEXT_H
#define D2V_TESTS_SAMPLE_TEXT_H

#include "base/error.h"

#include <stddef.h>

typedef struct sample_text {
	unsigned char *bytes; // of all documents; d2v_free
	size_t size, capacity;
	size_t *ends; // where documents end; d2v_free
	size_t documents, ends_capacity;
} sample_text;

// D2V_SHARED/data/NAME into path; false when it is not there.
bool sample_path(const char *name, char *path, size_t room);
// Fills a struct of zeros.
d2v_status sample_text_read(sample_text *text, const char *archive_path, d2v_error *err);
void sample_text_release(sample_text *text);

#endif
