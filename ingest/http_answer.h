// The few facts of an HTTP answer that a download depends on, gathered from its header lines as they come.
#ifndef D2V_INGEST_HTTP_ANSWER_H
#define D2V_INGEST_HTTP_ANSWER_H

#include <stddef.h>
#include <stdint.h>

typedef struct d2v_http_answer {
	long code;            // of the last answer: what comes before it (100 Continue) does not count
	uint64_t length;      // Content-Length; 0: not stated
	uint64_t range_start; // Content-Range, of a 206
	uint64_t range_total; // 0: not stated
	char tag[256];        // a strong ETag, else Last-Modified, else ""
} d2v_http_answer;

void d2v_http_answer_init(d2v_http_answer *answer);
// One header line with or without its line end; a status line starts anew.
void d2v_http_answer_line(d2v_http_answer *answer, const char *line, size_t size);

#endif
