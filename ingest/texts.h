// The texts of one source that were read so far, by the path of the member that held them.
//
// In an archive a text may come before or after the samples it belongs to, so asking has three answers: here it is,
// there is none, not known yet. Memory is bounded by D2V_TEXTS_MAX; a content is let go when all it has was taken.
// Threads: one at a time.
#ifndef D2V_INGEST_TEXTS_H
#define D2V_INGEST_TEXTS_H

#include "ingest/layout.h"

#include "base/error.h"

#define D2V_TEXTS_MAX ((size_t)64 << 20)

typedef enum d2v_text_answer { D2V_TEXT_FOUND, D2V_TEXT_NONE, D2V_TEXT_UNKNOWN } d2v_text_answer;

typedef struct d2v_texts d2v_texts;

d2v_status d2v_texts_new(d2v_texts **texts, const d2v_layout *layout, d2v_error *err);
void d2v_texts_free(d2v_texts *texts); // NULL is allowed
// The first content of a path counts. Content that is no UTF-8 text is taken as empty, and rejection says so.
d2v_status d2v_texts_add(
	d2v_texts *texts, const char *path, const char *content, size_t size, d2v_rejection *rejection, d2v_error *err);
// The member at path cannot be read: its samples have no text.
d2v_status d2v_texts_add_nothing(d2v_texts *texts, const char *path, d2v_error *err);
bool d2v_texts_has(const d2v_texts *texts, const char *path);
// No more will come: what is unknown is not there.
void d2v_texts_complete(d2v_texts *texts);
bool d2v_texts_is_complete(const d2v_texts *texts);
// Text borrowed until d2v_texts_took or clear.
d2v_text_answer d2v_texts_find(d2v_texts *texts, const char *path, const char *name, const char **text, size_t *size);
void d2v_texts_took(d2v_texts *texts, const char *path); // a found text was copied and will not be asked for again
void d2v_texts_clear(d2v_texts *texts);                  // for the next source

#endif
