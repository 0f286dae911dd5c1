#include "ingest/librispeech_splits.h"

#include <stddef.h>
#include <string.h>

const d2v_librispeech_split d2v_librispeech_splits[] = {
	{ "train-clean-100", 6387309499, "2a93770f6d5c6c964bc36631d331a522", 28539, 100.6 },
	{ "train-clean-360", 23049477885, "c0e676e450a7ff2f54aeade5171606fa", 104014, 363.6 },
	{ "train-other-500", 30593501606, "d1a0fd59409feb2c614ce4d30c387708", 148688, 496.7 },
	{ "dev-clean", 337926286, "42e2234ba48799c1f50f24a7926300a1", 2703, 5.4 },
	{ "dev-other", 314305928, "c8d0bcc9cca99d4f8b62fcc847357931", 2864, 5.3 },
	{ "test-clean", 346663984, "32fa31d27d2e1cad72775fee3f4849a9", 2620, 5.4 },
	{ "test-other", 328757843, "fb5a50374b501bb3bac4815ee91d3135", 2939, 5.1 },
	{ 0 },
};

const d2v_librispeech_split *d2v_librispeech_find_split(const char *name) {
	for (const d2v_librispeech_split *split = d2v_librispeech_splits; split->name; split++)
		if (strcmp(split->name, name) == 0)
			return split;
	return NULL;
}
