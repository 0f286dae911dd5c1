#include "base/progress.h"

#include "base/log.h"
#include "base/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define TERMINAL_SECONDS 0.2 // between two drawings on a terminal
#define PLAIN_SECONDS 10.0   // between two lines in a log
#define SETTLE_SECONDS 1.0   // no guess of the time left before this: the first records tell little
#define LINE_BYTES 512
#define DAYS_OF_YEAR 365

struct d2v_progress {
	bool quiet, terminal;
	bool line_open;
	double started, printed;
	double first_done; // where the count stood at the first update: a resumed run did not do that now
	bool updated;
	double done, total;
	char text[LINE_BYTES]; // the last state
	bool unprinted;        // text is newer than what was printed
};

double d2v_clock(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

d2v_status d2v_progress_new(d2v_progress **progress, bool quiet, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(progress, 1, sizeof **progress, err));
	(*progress)->quiet = quiet;
	(*progress)->terminal = isatty(STDERR_FILENO);
	(*progress)->started = (*progress)->printed = d2v_clock();
	return D2V_OK;
}

// Room for the text in the terminal's line; a longer one would wrap and could not be rewritten in place.
static size_t terminal_columns(void) {
	struct winsize window;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) < 0 || window.ws_col < 20)
		return 79;
	return window.ws_col - 1u;
}

static const char *time_left(const d2v_progress *progress, double now, char *text, size_t size) {
	double elapsed = now - progress->started, advanced = progress->done - progress->first_done;
	double missing = progress->total - progress->done;
	char duration[D2V_PROGRESS_TEXT];
	text[0] = '\0';
	if (elapsed >= SETTLE_SECONDS && advanced > 0 && progress->total > 0 && missing > 0)
		snprintf(text, size, "  left %s", d2v_progress_duration(elapsed / advanced * missing, duration));
	return text;
}

// How much of the text is shown where it has so much room: whole fields, which two spaces part, since half a number is
// another number.
static size_t fields_within(const char *text, size_t room) {
	size_t length = strlen(text), end = 0;
	for (size_t i = 1; i <= room && i + 1 < length; i++)
		if (text[i] == ' ' && text[i + 1] == ' ')
			end = i;
	return length <= room ? length : end ? end : room;
}

// On a narrow terminal the time left is what stays.
static void print(d2v_progress *progress, double now) {
	char left[D2V_PROGRESS_TEXT + 8], output[LINE_BYTES + sizeof left + 16];
	size_t columns = progress->terminal ? terminal_columns() : SIZE_MAX;
	size_t ending = strlen(time_left(progress, now, left, sizeof left));
	int shown = (int)fields_within(progress->text, columns - (ending < columns ? ending : 0));
	if (progress->terminal)
		snprintf(output, sizeof output, "\r%.*s%s\033[K", shown, progress->text, left);
	else
		snprintf(output, sizeof output, "%s%s\n", progress->text, left);
	d2v_log_write_line(output, progress->terminal);
	progress->line_open = progress->terminal;
	progress->printed = now;
	progress->unprinted = false;
}

void d2v_progress_update(d2v_progress *progress, double done, double total, const char *format, ...) {
	if (progress->quiet)
		return;
	if (!progress->updated)
		progress->first_done = done;
	progress->updated = true;
	progress->done = done;
	progress->total = total;

	// Formatted every time, since this may turn out to be the last state, which finish prints.
	va_list args;
	va_start(args, format);
	vsnprintf(progress->text, sizeof progress->text, format, args);
	va_end(args);
	progress->unprinted = true;
	double now = d2v_clock();
	if (now - progress->printed >= (progress->terminal ? TERMINAL_SECONDS : PLAIN_SECONDS))
		print(progress, now);
}

void d2v_progress_finish(d2v_progress *progress) {
	if (progress->quiet || !progress->updated)
		return;
	if (progress->unprinted)
		print(progress, d2v_clock());
	if (progress->line_open)
		d2v_log_write_line("\n", false);
	progress->line_open = false;
}

void d2v_progress_free(d2v_progress *progress) {
	if (!progress)
		return;
	if (progress->line_open)
		d2v_log_write_line("\n", false);
	d2v_free(progress);
}

const char *d2v_progress_duration(double seconds, char text[D2V_PROGRESS_TEXT]) {
	if (!(seconds >= 0 && seconds < 1e12)) {
		snprintf(text, D2V_PROGRESS_TEXT, "unknown");
		return text;
	}
	uint64_t whole = (uint64_t)llround(seconds);
	unsigned long long days = whole / 86400, hours = whole / 3600 % 24, minutes = whole / 60 % 60, rest = whole % 60;
	if (days >= 2 * DAYS_OF_YEAR)
		snprintf(text, D2V_PROGRESS_TEXT, "%.0f years", (double)days / DAYS_OF_YEAR);
	else if (whole >= 86400)
		snprintf(text, D2V_PROGRESS_TEXT, "%llu d %02llu h", days, hours);
	else if (whole >= 3600)
		snprintf(text, D2V_PROGRESS_TEXT, "%llu h %02llu m", hours, minutes);
	else if (whole >= 60)
		snprintf(text, D2V_PROGRESS_TEXT, "%llu m %02llu s", minutes, rest);
	else
		snprintf(text, D2V_PROGRESS_TEXT, "%llu s", rest);
	return text;
}

const char *d2v_progress_bytes(double bytes, char text[D2V_PROGRESS_TEXT]) {
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB" };
	if (!(bytes >= 0 && bytes < 1e18)) {
		snprintf(text, D2V_PROGRESS_TEXT, "unknown");
		return text;
	}
	size_t unit = 0;
	while (unit + 1 < sizeof units / sizeof *units && bytes >= (unit ? 999.5 : 1000)) {
		bytes /= 1000;
		unit++;
	}
	snprintf(text, D2V_PROGRESS_TEXT, unit && bytes < 9.95 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
	return text;
}

const char *d2v_progress_count(uint64_t count, char text[D2V_PROGRESS_TEXT]) {
	char digits[24];
	int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
	size_t used = 0;
	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			text[used++] = ',';
		text[used++] = digits[i];
	}
	text[used] = 0;
	return text;
}
