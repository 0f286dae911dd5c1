// The classes of a data set: names, in the order of the labels, and what people call them.
//
// They are known before the first record is made: from a file, or from a first pass over the names of the sources
// (ingest/class_scan.h), so that a label is the same whoever reads the source, and when.
// Life: init -> (load | add ...) -> (sort) -> find ... -> release. Threads: one at a time; find: any.
#ifndef D2V_INGEST_CLASSES_H
#define D2V_INGEST_CLASSES_H

#include "base/error.h"

#include <jansson.h>
#include <stdint.h>

#define D2V_CLASS_NAME_MAX 255
#define D2V_CLASSES_MAX 65536

typedef struct d2v_class {
	char *name, *words; // words: "" when nothing is known beyond the name
} d2v_class;

typedef struct d2v_classes {
	d2v_class *items;
	size_t count, capacity;
	uint32_t *slots; // open addressing: index + 1 by the hash of the name; 0 is free
	size_t slot_count;
} d2v_classes;

void d2v_classes_init(d2v_classes *classes);
void d2v_classes_release(d2v_classes *classes);
// words may be NULL. A name that is there already is no error, and changes nothing.
d2v_status d2v_classes_add(d2v_classes *classes, const char *name, const char *words, d2v_error *err);
// One class a line: the name, and after a space or TAB its words ("n01440764 tench, Tinca tinca"). Empty lines are
// passed over; a name that comes twice is D2V_INVALID.
d2v_status d2v_classes_load(d2v_classes *classes, const char *path, d2v_error *err);
d2v_status d2v_classes_copy(d2v_classes *classes, const d2v_classes *from, d2v_error *err);
// Ascending by bytes: the order of ImageFolder and of ImageNet's class indexes.
void d2v_classes_sort(d2v_classes *classes);
int32_t d2v_classes_find(const d2v_classes *classes, const char *name); // -1: not there
// The list as JSON ([[name, words], ...], owned by the caller) and back, for the journal.
d2v_status d2v_classes_to_json(const d2v_classes *classes, json_t **array, d2v_error *err);
d2v_status d2v_classes_from_json(d2v_classes *classes, const json_t *array, const char *where, d2v_error *err);
// Of names and words in order: what a restarted ingest compares.
uint64_t d2v_classes_digest(const d2v_classes *classes);

#endif
