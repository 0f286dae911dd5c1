// How one kind of data set is laid out: what a member of a source is, from its name alone, and where its text is.
//
// A new data set is a new file with a d2v_layout in it, its name below, and a command in tools/. Everything here is a pure
// function of names and bytes, so the result does not depend on who asks, when, or in what order. Threads: any.
#ifndef D2V_INGEST_LAYOUT_H
#define D2V_INGEST_LAYOUT_H

#include "ingest/classes.h"
#include "ingest/origin.h"
#include "ingest/path_rule.h"
#include "ingest/rejection.h"
#include "ingest/val_labels.h"

#include <stdbool.h>
#include <stdint.h>

#define D2V_SPLIT_NAME_MAX 64

typedef enum d2v_role {
	D2V_ROLE_IGNORED, // of no interest
	D2V_ROLE_SAMPLE,
	D2V_ROLE_TEXT,     // holds the text of samples
	D2V_ROLE_ARCHIVE,  // an archive of members of its own: to be entered. Its class is that of all samples in it
	D2V_ROLE_PIECES,   // text of any size, read piece by piece
	D2V_ROLE_REJECTED, // place.rejection says why
} d2v_role;

typedef struct d2v_place {
	d2v_role role;
	char split[D2V_SPLIT_NAME_MAX + 1];      // "": none, for what was rejected before its split was known
	char name[D2V_MEMBER_PATH_MAX + 1];      // of the record, or of a text the path in the source
	char text_path[D2V_MEMBER_PATH_MAX + 1]; // the member that may hold the text of this sample; "": none does
	char class_name[D2V_CLASS_NAME_MAX + 1]; // "": none
	int32_t label;   // of layouts whose labels are no classes; otherwise D2V_RECORD_NO_LABEL, and the class decides
	bool json_lines; // of D2V_ROLE_PIECES
	d2v_rejection rejection;
} d2v_place;

typedef struct d2v_layout_options {
	const char *split; // of members whose name does not tell; not NULL
	bool texts;        // false: texts are ignored
	// How split and class are read off a path, for layouts that leave it to the user; a rule goes before folders.
	const d2v_path_rule *split_rule, *label_rule; // NULL: none
	bool split_folders, label_folders;
	const d2v_val_labels *val_labels; // of ImageNet's validation pictures, or NULL
	const char *field;                // text: the string of JSON lines that is wanted; NULL: there are no JSON lines
	const char *valid; // text: a pattern (fnmatch) of files that make the split "valid"; NULL: the layout's own
} d2v_layout_options;

struct d2v_decoder; // ingest/decoder.h

typedef struct d2v_layout {
	const char *name;                  // "librispeech"
	const struct d2v_decoder *decoder; // of its samples
	// NULL: its data sets never have classes. Otherwise whether they have, with these options.
	bool (*has_classes)(const d2v_layout_options *options);
	// path is tidy and safe (d2v_member.path). *place has no role, no names and no label yet. What is of no interest gets a
	// split as well: a link or a pipe is listed in it.
	void (*place)(const d2v_layout_options *options, const char *path, d2v_place *place);
	// True for a name of which a source may be that is a file by itself and no archive; NULL: there are none.
	bool (*is_single)(const char *path);
	// Finds the text of the sample `name` in its text member's content; false: it is not in there.
	bool (*find_text)(const char *content, size_t size, const char *name, const char **text, size_t *text_size);
	// How many samples' texts the content can give: when all were found it is let go.
	size_t (*count_texts)(const char *content, size_t size);
} d2v_layout;

extern const d2v_layout d2v_layout_librispeech;
extern const d2v_layout d2v_layout_audio;
extern const d2v_layout d2v_layout_images;
extern const d2v_layout d2v_layout_imagenet;
extern const d2v_layout d2v_layout_text, d2v_layout_openwebtext;

// True for a name that may become a folder: letters, digits, "-", "_", ".", not starting with ".".
bool d2v_layout_is_split_name(const char *name);
// For the layouts: by the name's ending, whatever its case.
bool d2v_layout_is_audio(const char *path);
bool d2v_layout_is_image(const char *path);
// Split and class by the options: a rule that matches; else folders (the first one called train, val, test or the like
// is the split, and the one in it, or without a split the last one, the class); else options->split and none. A rule
// that gives no name for a folder makes a rejected place.
void d2v_layout_sort(const d2v_layout_options *options, const char *path, d2v_place *place);
bool d2v_layout_sorts_classes(const d2v_layout_options *options); // has_classes of layouts that do so
bool d2v_layout_is_text(const char *path);                        // these two also with .gz, .xz, .zst or .bz2 behind
bool d2v_layout_is_json_lines(const char *path);
// Where the ending (".flac") of a name starts, or its end when it has none.
const char *d2v_layout_extension(const char *path);
// Without spaces and line ends around it.
void d2v_layout_trim(const char **text, size_t *size);

#endif
