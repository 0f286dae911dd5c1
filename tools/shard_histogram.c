#include "tools/shard_histogram.h"

#include "base/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BAR_COLUMNS 48

bool shard_histogram_unicode(void) {
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const char *value = getenv(names[i]);
		if (value && *value)
			return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
	}
	return false;
}

// A bar of `share` of the columns; anything above zero shows.
static void print_bar(double share, bool unicode, FILE *out) {
	static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
	long parts = lround(share * BAR_COLUMNS * 8);
	parts = share > 0 && parts < 1 ? 1 : parts;
	if (!unicode) {
		for (long i = 0; i < (parts + 7) / 8; i++)
			fputc('#', out);
		return;
	}
	for (long i = 0; i < parts / 8; i++)
		fputs("█", out);
	fputs(eighths[parts % 8], out);
}

static double largest(const json_t *counts) {
	double most = 0;
	size_t i;
	json_t *count;
	json_array_foreach(counts, i, count)
		most = fmax(most, json_number_value(count));
	return most;
}

void shard_histogram_print(const json_t *statistics, bool unicode, FILE *out) {
	const json_t *histogram = json_object_get(statistics, "histogram"), *counts = json_object_get(histogram, "counts");
	const char *unit = json_string_value(json_object_get(histogram, "unit"));
	double width = json_number_value(json_object_get(histogram, "width")), most = largest(counts);
	char text[D2V_PROGRESS_TEXT];
	if (!unit || !(width > 0) || !(most > 0))
		return;
	int digits = width < 1 ? 1 : 0;
	size_t first = 0;
	while (!(json_number_value(json_array_get(counts, first)) > 0))
		first++; // there is one: most > 0
	for (size_t i = first; i < json_array_size(counts); i++) {
		double count = json_number_value(json_array_get(counts, i));
		double from = (double)i * width, to = from + width;
		if (digits)
			fprintf(out, "  %9.1f - %-9.1f", from, to);
		else
			fprintf(out, "  %9.0f - %-9.0f", from, to);
		fprintf(out, " %9s  ", d2v_progress_count((uint64_t)(count < 0 ? 0 : count), text));
		print_bar(count < 0 ? 0 : count / most, unicode, out);
		fputc('\n', out);
	}
	fprintf(out, "  %s\n", unit);
}
