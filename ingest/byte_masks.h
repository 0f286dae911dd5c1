// 64 bytes at a time: which of them are what, one bit a byte, the first in the lowest bit.
#ifndef D2V_INGEST_BYTE_MASKS_H
#define D2V_INGEST_BYTE_MASKS_H

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#define D2V_BYTE_MASK 64

typedef struct d2v_byte_masks {
	uint64_t letters, numbers, space; // of ASCII
	uint64_t blanks;                  // ' ' alone
	uint64_t apostrophes;
	uint64_t beyond; // not ASCII
} d2v_byte_masks;

#ifdef __AVX2__
#define D2V_BYTE_LANES 32
#else
#define D2V_BYTE_LANES 16
#endif
typedef unsigned char d2v_byte_lanes __attribute__((vector_size(D2V_BYTE_LANES)));
typedef signed char d2v_signed_byte_lanes __attribute__((vector_size(D2V_BYTE_LANES)));

// The highest bit of each byte.
static inline uint64_t d2v_byte_mask_bits(d2v_byte_lanes lanes) {
#ifdef __AVX2__
	return (uint32_t)_mm256_movemask_epi8((__m256i)lanes);
#elif defined __SSE2__
	return (uint32_t)_mm_movemask_epi8((__m128i)lanes);
#else
	// A multiplication gathers the bits of eight bytes; the product's upper byte has them in order.
	uint64_t words[D2V_BYTE_LANES / 8], bits = 0;
	memcpy(words, &lanes, sizeof words);
	for (int k = 0; k < D2V_BYTE_LANES / 8; k++)
		bits |= ((words[k] >> 7 & UINT64_C(0x0101010101010101)) * UINT64_C(0x0102040810204080) >> 56) << 8 * k;
	return bits;
#endif
}

// Bytes from first to last, both below 0x80: shifted up so that last becomes the largest signed byte.
static inline d2v_byte_lanes d2v_byte_mask_range(d2v_byte_lanes bytes, unsigned char first, unsigned char last) {
	d2v_signed_byte_lanes shifted = (d2v_signed_byte_lanes)(bytes + (unsigned char)(0x7f - last));
	return (d2v_byte_lanes)(shifted > (signed char)(0x7e - (last - first)));
}

static inline void d2v_byte_masks_add(const unsigned char *bytes, int shift, d2v_byte_masks *masks) {
	d2v_byte_lanes lanes;
	memcpy(&lanes, bytes, sizeof lanes);
	d2v_byte_lanes blanks = (d2v_byte_lanes)(lanes == ' ');
	masks->letters |= d2v_byte_mask_bits(d2v_byte_mask_range(lanes | 0x20, 'a', 'z')) << shift;
	masks->numbers |= d2v_byte_mask_bits(d2v_byte_mask_range(lanes, '0', '9')) << shift;
	masks->space |= d2v_byte_mask_bits(d2v_byte_mask_range(lanes, '\t', '\r') | blanks) << shift;
	masks->blanks |= d2v_byte_mask_bits(blanks) << shift;
	masks->apostrophes |= d2v_byte_mask_bits((d2v_byte_lanes)(lanes == '\'')) << shift;
	masks->beyond |= d2v_byte_mask_bits(lanes) << shift;
}

static inline d2v_byte_masks d2v_byte_masks_of(const unsigned char bytes[D2V_BYTE_MASK]) {
	d2v_byte_masks masks = { 0 };
	for (int at = 0; at < D2V_BYTE_MASK; at += D2V_BYTE_LANES)
		d2v_byte_masks_add(bytes + at, at, &masks);
	return masks;
}

#endif
