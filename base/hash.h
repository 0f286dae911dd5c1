// Digests: XXH3-64 for our own files and for streams of batches, MD5 and SHA-256 for other people's checksums.
#ifndef D2V_BASE_HASH_H
#define D2V_BASE_HASH_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

uint64_t d2v_hash64(const void *bytes, size_t size);
uint64_t d2v_hash64_seeded(const void *bytes, size_t size, uint64_t seed);
// The running digest of a sequence: order matters. Start from 0.
uint64_t d2v_hash64_chain(uint64_t running, uint64_t next);

// XXH3-64 over bytes that arrive in pieces.
typedef struct d2v_hasher d2v_hasher;
d2v_status d2v_hasher_new(d2v_hasher **hasher, d2v_error *err);
void d2v_hasher_add(d2v_hasher *hasher, const void *bytes, size_t size);
uint64_t d2v_hasher_value(const d2v_hasher *hasher);
void d2v_hasher_free(d2v_hasher *hasher);

#define D2V_HASH_HEX 65 // room for the longest text below, with its NUL
typedef enum d2v_checksum_kind { D2V_MD5, D2V_SHA256 } d2v_checksum_kind;
typedef struct d2v_checksum d2v_checksum;
d2v_status d2v_checksum_new(d2v_checksum **sum, d2v_checksum_kind kind, d2v_error *err);
d2v_status d2v_checksum_add(d2v_checksum *sum, const void *bytes, size_t size, d2v_error *err);
// Lower-case hex; the sum cannot be added to afterwards.
d2v_status d2v_checksum_hex(d2v_checksum *sum, char hex[D2V_HASH_HEX], d2v_error *err);
void d2v_checksum_free(d2v_checksum *sum);

void d2v_hash64_hex(uint64_t value, char hex[17]); // 16 lower-case digits

#endif
