// The first pass over the sources: which classes are there, from names alone.
#ifndef D2V_INGEST_CLASS_SCAN_H
#define D2V_INGEST_CLASS_SCAN_H

#include "ingest/classes.h"
#include "ingest/ingest.h"

// Fills *classes with those of all sources, ascending. Nothing is unpacked; a plain tar and a zip are passed over at
// the speed of their headers, a compressed archive is read once. A source that is read as it comes cannot be read
// twice: then the classes are those of the validation labels where the layout has them, and otherwise D2V_INVALID says
// how to name them. A single class found so says nothing and is dropped, unless the layout's classes are known by their
// names (ImageNet's).
d2v_status d2v_class_scan(d2v_classes *classes, const d2v_ingest_options *options, d2v_error *err);

#endif
