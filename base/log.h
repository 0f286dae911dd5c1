// Log lines on stderr: "d2v-ingest: warning: ...". The library says little; what it says goes through here, and a
// program that embeds it can take the lines itself. Threads: any; a line is written whole.
#ifndef D2V_BASE_LOG_H
#define D2V_BASE_LOG_H

#include <stdbool.h>

typedef enum d2v_log_level { D2V_LOG_DEBUG, D2V_LOG_INFO, D2V_LOG_WARNING, D2V_LOG_ERROR } d2v_log_level;

typedef void d2v_log_sink(void *context, d2v_log_level level, const char *line);

void d2v_log_set_program(const char *name);     // borrowed for ever
void d2v_log_set_level(d2v_log_level minimum);  // default D2V_LOG_INFO
void d2v_log_set_sink(d2v_log_sink *sink, void *context); // NULL: stderr again; a sink must not log

void d2v_log(d2v_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
// For base/progress.c: writes text to stderr as it is, in one piece; `open` says that the text is an unfinished line on a
// terminal, which the next log line is to wipe.
void d2v_log_write_line(const char *text, bool open);

#define d2v_debug(...) d2v_log(D2V_LOG_DEBUG, __VA_ARGS__)
#define d2v_info(...) d2v_log(D2V_LOG_INFO, __VA_ARGS__)
#define d2v_warn(...) d2v_log(D2V_LOG_WARNING, __VA_ARGS__)

#endif
