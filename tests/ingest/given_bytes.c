#include "tests/ingest/given_bytes.h"

#include <string.h>

static d2v_status give(void *context, const void **bytes, size_t *size, d2v_error *err) {
	static char block[1 << 16]; // so that what is read on is not what was borrowed before
	given_bytes *given = context;
	size_t left = given->size - given->at, most = given->block ? given->block : left;
	if (given->fail_at && given->at >= given->fail_at)
		return d2v_fail(err, D2V_CORRUPT, "damaged on purpose");
	*size = left < most ? left : most;
	*bytes = given->bytes + given->at;
	if (*size && *size <= sizeof block) {
		memcpy(block, *bytes, *size);
		*bytes = block;
	}
	given->at += *size;
	return D2V_OK;
}

d2v_bytes given_bytes_open(given_bytes *given) {
	given->at = 0;
	return (d2v_bytes){ .read = give, .context = given, .name = "given" };
}
