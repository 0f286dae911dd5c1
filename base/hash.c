#include "base/hash.h"

#include "base/memory.h"

#include <openssl/evp.h>
#include <stdio.h>
// Compiled into this file, so that it uses the vector instructions the build is for.
#define XXH_INLINE_ALL
#include <xxhash.h>

struct d2v_hasher {
	XXH3_state_t state; // wants 64-byte alignment, which d2v_alloc gives
};

struct d2v_checksum {
	EVP_MD_CTX *context;
	bool finished;
};

uint64_t d2v_hash64(const void *bytes, size_t size) {
	return XXH3_64bits(bytes, size);
}

uint64_t d2v_hash64_seeded(const void *bytes, size_t size, uint64_t seed) {
	return XXH3_64bits_withSeed(bytes, size, seed);
}

uint64_t d2v_hash64_chain(uint64_t running, uint64_t next) {
	unsigned char pair[16];
	for (int i = 0; i < 8; i++) {
		pair[i] = (unsigned char)(running >> 8 * i);
		pair[8 + i] = (unsigned char)(next >> 8 * i);
	}
	return XXH3_64bits(pair, sizeof pair);
}

d2v_status d2v_hasher_new(d2v_hasher **hasher, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(hasher, 1, sizeof **hasher, err));
	XXH3_64bits_reset(&(*hasher)->state);
	return D2V_OK;
}

void d2v_hasher_add(d2v_hasher *hasher, const void *bytes, size_t size) {
	if (size)
		XXH3_64bits_update(&hasher->state, bytes, size);
}

uint64_t d2v_hasher_value(const d2v_hasher *hasher) {
	return XXH3_64bits_digest(&hasher->state);
}

void d2v_hasher_free(d2v_hasher *hasher) {
	d2v_free(hasher);
}

d2v_status d2v_checksum_new(d2v_checksum **sum, d2v_checksum_kind kind, d2v_error *err) {
	d2v_checksum *made;
	*sum = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->context = EVP_MD_CTX_new();
	if (!made->context) {
		d2v_free(made);
		return d2v_fail(err, D2V_NO_MEMORY, "no memory for a checksum");
	}
	if (EVP_DigestInit_ex(made->context, kind == D2V_MD5 ? EVP_md5() : EVP_sha256(), NULL) != 1) {
		d2v_checksum_free(made);
		return d2v_fail(err, D2V_UNSUPPORTED, "libcrypto here has no %s", kind == D2V_MD5 ? "MD5" : "SHA-256");
	}
	*sum = made;
	return D2V_OK;
}

d2v_status d2v_checksum_add(d2v_checksum *sum, const void *bytes, size_t size, d2v_error *err) {
	D2V_ASSERT(!sum->finished);
	if (size && EVP_DigestUpdate(sum->context, bytes, size) != 1)
		return d2v_fail(err, D2V_IO, "libcrypto failed to add to a checksum");
	return D2V_OK;
}

d2v_status d2v_checksum_hex(d2v_checksum *sum, char hex[D2V_HASH_HEX], d2v_error *err) {
	D2V_ASSERT(!sum->finished);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned size = 0;
	hex[0] = 0;
	sum->finished = true;
	if (EVP_DigestFinal_ex(sum->context, digest, &size) != 1)
		return d2v_fail(err, D2V_IO, "libcrypto failed to finish a checksum");
	D2V_ASSERT(2 * size < D2V_HASH_HEX);
	for (unsigned i = 0; i < size; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	return D2V_OK;
}

void d2v_checksum_free(d2v_checksum *sum) {
	if (!sum)
		return;
	EVP_MD_CTX_free(sum->context);
	d2v_free(sum);
}

void d2v_hash64_hex(uint64_t value, char hex[17]) {
	for (int i = 0; i < 16; i++)
		hex[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
	hex[16] = 0;
}
