// Errors: a status code says what kind, a d2v_error says it in words.
//
// A function that can fail returns d2v_status (D2V_OK is 0) and takes `d2v_error *err` last; results leave
// through pointers. `err` may be NULL when the caller only wants the status. Failing is one line:
//
//     return d2v_fail(err, D2V_CORRUPT, "%s: record %zu: digest differs; run d2v-shard verify", path, i);
//
// The message names the file and record and ends with what the user can do. Only tools/ prints it.
// Threads: a d2v_error belongs to one thread; it is a plain value and may be copied.
#ifndef D2V_BASE_ERROR_H
#define D2V_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum d2v_status {
	D2V_OK = 0,
	D2V_END,         // not an error: a sequence has ended
	D2V_INTERRUPTED, // a signal asked us to stop; state was saved
	D2V_INVALID,     // the caller or the user asked for something impossible (wrong option, key, value)
	D2V_NOT_FOUND,   // a file, key or record that must be there is not
	D2V_EXISTS,      // something is there that must not be overwritten
	D2V_CORRUPT,     // bytes that were written well are no longer what they were (digest, structure)
	D2V_UNDECODABLE, // a source file that cannot be decoded: may be counted and skipped
	D2V_UNSAFE,      // hostile input: absolute names, .., links, bombs: may be counted and skipped
	D2V_UNSUPPORTED, // understood, but not something this build or version does
	D2V_NO_MEMORY,
	D2V_NO_SPACE, // the disk is full
	D2V_IO,       // reading or writing failed
	D2V_NETWORK,  // a download failed
	D2V_DIVERGED, // training went wrong: NaN, collapse
	D2V_STATUS_COUNT
} d2v_status;

#define D2V_ERROR_TEXT 1024

typedef struct d2v_error {
	d2v_status status;
	char text[D2V_ERROR_TEXT];
} d2v_error;

// Fills err (when not NULL) and returns status, so that it can be returned at once.
d2v_status d2v_fail(d2v_error *err, d2v_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
d2v_status d2v_fail_va(d2v_error *err, d2v_status status, const char *format, va_list args);

// The same, with ": <strerror(errno)>" appended; ENOSPC and EDQUOT give D2V_NO_SPACE, ENOENT D2V_NOT_FOUND,
// ENOMEM D2V_NO_MEMORY, EEXIST D2V_EXISTS, anything else D2V_IO. Reads errno first.
d2v_status d2v_fail_errno(d2v_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Puts "context: " before the text already in err; returns err's status, D2V_OK for err NULL: where err may be NULL, return a
// status of your own. For adding a file or record name on the way up.
d2v_status d2v_error_prefix(d2v_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Its twin: puts words behind the text in err and makes it a failure of `status`, which is returned. For what is the user's mistake in
// one place and damage in another, and for a remedy that only the caller knows.
d2v_status d2v_error_suffix(d2v_error *err, d2v_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Tells the compiler what d2v_fail and d2v_fail_errno promise, that they never return D2V_OK: it then sees that results are set wherever
// a call succeeded, instead of warning of variables that "may be used uninitialized".
static inline d2v_status d2v_is_failure(d2v_status status) {
	if (status == D2V_OK)
		__builtin_unreachable();
	return status;
}
#define d2v_fail(...) d2v_is_failure(d2v_fail(__VA_ARGS__))
#define d2v_fail_errno(...) d2v_is_failure(d2v_fail_errno(__VA_ARGS__))

void d2v_error_clear(d2v_error *err);

// "corrupt", "no space", ...
const char *d2v_status_name(d2v_status status);

// True for what is wrong with one record and not with the run (D2V_CORRUPT, D2V_UNDECODABLE, D2V_UNSAFE):
// such a record may be counted and skipped. The one table that ingest, loader and exit status agree on.
bool d2v_status_is_skippable(d2v_status status);

// 0 done, 1 failed, 2 wrong usage, 3 data found damaged, 130 interrupted.
int d2v_status_exit_code(d2v_status status);

// For our own mistakes only; stays on in every build. Bytes from disk never reach it.
void d2v_assert_failed(const char *expression, const char *file, int line) __attribute__((noreturn));
#define D2V_ASSERT(expression) ((expression) ? (void)0 : d2v_assert_failed(#expression, __FILE__, __LINE__))

// Hands a failure on: `D2V_TRY(d2v_file_read(...));`. For functions that own nothing; others `goto out`.
#define D2V_TRY(call)                                                                                                  \
	do {                                                                                                               \
		d2v_status d2v_try_status_ = (call);                                                                           \
		if (d2v_try_status_ != D2V_OK)                                                                                 \
			return d2v_try_status_;                                                                                    \
	} while (0)

#endif
