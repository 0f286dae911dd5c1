// Whether a WAV or OGG file was cut off: libsndfile reads what is left of such a file without a word.
#ifndef D2V_INGEST_CONTAINER_CHECK_H
#define D2V_INGEST_CONTAINER_CHECK_H

#include <stddef.h>

// NULL when nothing speaks against the file (also for kinds of files it knows nothing of); otherwise what does.
const char *d2v_container_check(const void *bytes, size_t size);

#endif
