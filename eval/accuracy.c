#include "eval/accuracy.h"

#include <math.h>

#define Z 1.959963984540054 // 95 % of a normal distribution lie within so many deviations

d2v_accuracy d2v_accuracy_count(int64_t right, int64_t count) {
	d2v_accuracy accuracy = { .right = right, .count = count, .low = 0, .high = 1 };
	if (count < 1)
		return accuracy;
	double n = (double)count, p = (double)right / n, whole = 1 + Z * Z / n;
	double centre = (p + Z * Z / (2 * n)) / whole;
	double half = Z * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / whole;
	accuracy.share = p;
	accuracy.low = right == 0 ? 0 : centre - half;
	accuracy.high = right == count ? 1 : centre + half;
	return accuracy;
}

d2v_accuracy d2v_accuracy_of(const int32_t *predicted, const int32_t *labels, int64_t count) {
	int64_t right = 0;
	for (int64_t i = 0; i < count; i++)
		right += predicted[i] == labels[i];
	return d2v_accuracy_count(right, count);
}

// Twice the smaller tail of a fair coin thrown `total` times, with `fewer` heads; by logarithms, so that no factor
// overflows.
static double coin_tail(int64_t fewer, int64_t total) {
	double sum = 0;
	for (int64_t k = 0; k <= fewer; k++)
		sum += exp(lgamma((double)total + 1) - lgamma((double)k + 1) - lgamma((double)(total - k) + 1) -
				   (double)total * log(2));
	return fmin(1, 2 * sum);
}

d2v_accuracy_difference d2v_accuracy_pairs(int64_t only_first, int64_t only_second, int64_t count) {
	d2v_accuracy_difference difference = {
		.only_first = only_first, .only_second = only_second, .low = -1, .high = 1, .p = 1
	};
	if (count < 1)
		return difference;
	double n = (double)count + 2, b = (double)only_first + .5, c = (double)only_second + .5;
	double centre = (b - c) / n, half = Z * sqrt((b + c) - (b - c) * (b - c) / n) / n;
	difference.share = (double)(only_first - only_second) / (double)count;
	difference.low = fmax(-1, centre - half);
	difference.high = fmin(1, centre + half);
	difference.p = coin_tail(only_first < only_second ? only_first : only_second, only_first + only_second);
	return difference;
}

d2v_accuracy_difference d2v_accuracy_compare(
	const int32_t *first, const int32_t *second, const int32_t *labels, int64_t count) {
	int64_t only_first = 0, only_second = 0;
	for (int64_t i = 0; i < count; i++) {
		only_first += first[i] == labels[i] && second[i] != labels[i];
		only_second += first[i] != labels[i] && second[i] == labels[i];
	}
	return d2v_accuracy_pairs(only_first, only_second, count);
}
