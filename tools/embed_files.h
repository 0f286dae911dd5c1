// Loose files as a data set: copied, under numbered names that keep their order, into a folder of their own and
// ingested there, so that they go the way of any other data, with all its checks. The folder is removed when it is
// closed.
#ifndef D2V_TOOLS_EMBED_FILES_H
#define D2V_TOOLS_EMBED_FILES_H

#include "base/error.h"

typedef struct embed_files {
	char *folder;  // below TMPDIR
	char *dataset; // its data set
} embed_files;

// All sound or all pictures, by their endings. D2V_INVALID for others; D2V_CORRUPT names the first file that cannot be
// used and says why.
d2v_status embed_files_open(embed_files *files, const char *const *paths, int count, d2v_error *err);
void embed_files_close(embed_files *files); // also after a failure
// What such a record's name was before: without the number.
const char *embed_files_name(const char *record_name);

#endif
