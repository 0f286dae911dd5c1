// bf16 and f16 as two bytes: exact to float, and from float to the nearest, ties to even. What is too large for f16 becomes
// infinite, what is small a denormal. For C and C++.
#ifndef D2V_TESTS_REF_HALF_H
#define D2V_TESTS_REF_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t ref_bits(float value) {
	uint32_t bits;
	memcpy(&bits, &value, sizeof bits);
	return bits;
}

static inline float ref_float(uint32_t bits) {
	float value;
	memcpy(&value, &bits, sizeof value);
	return value;
}

static inline float ref_from_bf16(uint16_t bits) {
	return ref_float((uint32_t)bits << 16);
}

static inline uint16_t ref_to_bf16(float value) {
	uint32_t bits = ref_bits(value);
	return value != value ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float ref_from_f16(uint16_t bits) {
	float magnitude = ref_float((uint32_t)(bits & 0x7fff) << 13) * 0x1p112f; // denormals too
	uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
	if ((bits & 0x7c00) == 0x7c00) // infinite, or no number
		return ref_float(sign | 0x7f800000 | (uint32_t)(bits & 0x3ff) << 13);
	return ref_float(sign | ref_bits(magnitude));
}

static inline uint16_t ref_to_f16(float value) {
	uint32_t bits = ref_bits(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
	if (magnitude > 0x7f800000)
		return 0x7fff;
	if (magnitude >= 0x47800000) // 65536
		return (uint16_t)(sign | 0x7c00);
	if (magnitude < 0x38800000) // 2^-14: what is added has the last place where a denormal has it, so the sum is rounded there
		return (uint16_t)(sign | (ref_bits(ref_float(magnitude) + 0.5f) - ref_bits(0.5f)));
	return (uint16_t)(sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

#endif
