#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES 2048

// `mutex` guards the other fields; it is held while the sink runs, so that lines do not mix and a sink that was
// replaced is not called any more. A sink must not log.
static struct {
	pthread_mutex_t mutex;
	const char *program;
	d2v_log_sink *sink;
	void *context;
	bool line_open;
} state = { .mutex = PTHREAD_MUTEX_INITIALIZER, .program = "d2v" };

static atomic_int minimum_level = D2V_LOG_INFO; // read without the mutex: debug lines are to cost nothing

void d2v_log_set_program(const char *name) {
	pthread_mutex_lock(&state.mutex);
	state.program = name;
	pthread_mutex_unlock(&state.mutex);
}

void d2v_log_set_level(d2v_log_level minimum) {
	atomic_store(&minimum_level, (int)minimum);
}

void d2v_log_set_sink(d2v_log_sink *sink, void *context) {
	pthread_mutex_lock(&state.mutex);
	state.sink = sink;
	state.context = context;
	pthread_mutex_unlock(&state.mutex);
}

void d2v_log_write_line(const char *text, bool open) {
	pthread_mutex_lock(&state.mutex);
	fputs(text, stderr);
	fflush(stderr);
	state.line_open = open;
	pthread_mutex_unlock(&state.mutex);
}

static const char *word_before(d2v_log_level level) {
	switch (level) {
	case D2V_LOG_DEBUG:
		return "debug: ";
	case D2V_LOG_WARNING:
		return "warning: ";
	case D2V_LOG_ERROR:
		return "error: ";
	default:
		return "";
	}
}

void d2v_log(d2v_log_level level, const char *format, ...) {
	if ((int)level < atomic_load_explicit(&minimum_level, memory_order_relaxed))
		return;
	char line[LINE_BYTES];
	va_list args;
	va_start(args, format);
	int length = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (length < 0)
		return;
	if ((size_t)length >= sizeof line)
		memcpy(line + sizeof line - 4, "...", 4);

	pthread_mutex_lock(&state.mutex);
	if (state.sink) {
		state.sink(state.context, level, line);
	} else {
		// A progress line may stand there; it is drawn again below this one by its next update.
		fprintf(stderr, "%s%s: %s%s\n", state.line_open ? "\r\033[K" : "", state.program, word_before(level), line);
		fflush(stderr);
		state.line_open = false;
	}
	pthread_mutex_unlock(&state.mutex);
}
