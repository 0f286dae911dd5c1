// Files: reading whole ones, and publishing new ones so that a reader sees all or nothing.
//
// Publishing is write aside ("NAME.tmp-<pid>"), flush, fsync, rename, fsync the folder. A kill at any moment leaves the old
// file or the new one. All writing that must survive goes through here, so that tests can make the n-th write or fsync fail.
// Threads: functions are independent; a d2v_file_out belongs to one thread.
#ifndef D2V_BASE_FILE_H
#define D2V_BASE_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

// Reads a file of at most max_bytes. *bytes is owned by the caller (d2v_free), has a NUL after its end. D2V_INVALID when larger.
d2v_status d2v_file_read(const char *path, size_t max_bytes, void **bytes, size_t *size, d2v_error *err);
bool d2v_file_exists(const char *path);
bool d2v_file_is_directory(const char *path);
d2v_status d2v_file_size(const char *path, uint64_t *size, d2v_error *err);
d2v_status d2v_file_make_directories(const char *path, d2v_error *err); // like mkdir -p
d2v_status d2v_file_remove(const char *path, d2v_error *err);            // no error when it is not there
d2v_status d2v_file_remove_tree(const char *path, d2v_error *err);       // never follows links; no error when absent
d2v_status d2v_file_sync_directory(const char *path, d2v_error *err);
// fsync of an existing file by path (LMDB files written by others).
d2v_status d2v_file_sync(const char *path, d2v_error *err);
// All of the file system that holds the folder (syncfs): for so many small files that a sync for each would take long.
d2v_status d2v_file_sync_all(const char *folder, d2v_error *err);
// rename, then fsync the folder of `to`.
d2v_status d2v_file_publish(const char *from, const char *to, d2v_error *err);
// Bytes a user may still write on the file system that holds path (or its nearest existing parent).
d2v_status d2v_file_space_free(const char *path, uint64_t *bytes, d2v_error *err);
// "a/b" from "a" and "b"; caller frees.
d2v_status d2v_path_join(char **out, const char *folder, const char *name, d2v_error *err);
const char *d2v_path_name(const char *path); // what follows the last slash, borrowed from path
// The folder that holds it: "a/" of "a/b", "." of "b"; caller frees.
d2v_status d2v_path_folder(char **out, const char *path, d2v_error *err);
// True for a name that stays below the folder it is joined to: not absolute, no "..", no NUL, not empty.
bool d2v_path_is_safe(const char *name);

// A file being written aside.
typedef struct d2v_file_out d2v_file_out;
// Fails when the folder is not there, and when the name is of something else than a file: as root, a new file would take the
// place of /dev/null. Removes NAME.tmp-* left by processes that are gone.
d2v_status d2v_file_begin(d2v_file_out **out, const char *path, d2v_error *err);
d2v_status d2v_file_write(d2v_file_out *out, const void *bytes, size_t size, d2v_error *err);
uint64_t d2v_file_written(const d2v_file_out *out);
// Both end the life of `out`. commit publishes; on failure nothing is published and the temporary file is gone. (When all but
// the last step worked, the fsync of the folder, the whole new file is there but may not survive a power failure.)
d2v_status d2v_file_commit(d2v_file_out *out, d2v_error *err);
void d2v_file_abandon(d2v_file_out *out); // NULL is allowed
// begin + write + commit.
d2v_status d2v_file_replace(const char *path, const void *bytes, size_t size, d2v_error *err);

// An advisory lock (flock) on path, created when absent, so that two programs do not write the same folder. D2V_EXISTS when held.
d2v_status d2v_file_lock(int *fd, const char *path, d2v_error *err);
void d2v_file_unlock(int fd); // -1 is allowed

// All names in a folder except . and .., sorted by strcmp; free with d2v_file_names_free.
d2v_status d2v_file_list(const char *folder, char ***names, size_t *count, d2v_error *err);
void d2v_file_names_free(char **names, size_t count);

// Tests: the n-th write or fsync from now fails with ENOSPC; negative switches that off.
void d2v_file_fail_after(long n);
// For a write that another library does for us: counts as one. True when it is to fail; errno is set.
bool d2v_file_must_fail(void);

#endif
