// The official splits of LibriSpeech: where they are and what they must be.
#ifndef D2V_INGEST_LIBRISPEECH_SPLITS_H
#define D2V_INGEST_LIBRISPEECH_SPLITS_H

#include <stdint.h>

#define D2V_LIBRISPEECH_MIRROR "https://www.openslr.org/resources/12"

typedef struct d2v_librispeech_split {
	const char *name;
	uint64_t bytes; // of <mirror>/<name>.tar.gz
	const char *md5;
	uint64_t utterances;
	double hours;
} d2v_librispeech_split;

extern const d2v_librispeech_split d2v_librispeech_splits[];               // ends with a NULL name
const d2v_librispeech_split *d2v_librispeech_find_split(const char *name); // NULL: none of that name

#endif
