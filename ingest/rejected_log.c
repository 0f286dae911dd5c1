#include "ingest/rejected_log.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_ROOM 2048

d2v_status d2v_rejected_log_open(
	d2v_rejected_log *log, const char *path, uint64_t lines, uint64_t bytes, d2v_error *err) {
	struct stat facts;
	*log = (d2v_rejected_log){ .fd = -1, .lines = lines, .bytes = bytes };
	D2V_TRY(d2v_strdup(&log->path, path, err));
	log->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (log->fd < 0 || fstat(log->fd, &facts) < 0)
		return d2v_fail_errno(err, "%s: cannot be opened", path);
	if ((uint64_t)facts.st_size < bytes)
		return d2v_fail(err, D2V_CORRUPT,
			"%s: is shorter than the journal says; remove the data set's folder and start anew", path);
	if (ftruncate(log->fd, (off_t)bytes) < 0)
		return d2v_fail_errno(err, "%s: cannot be cut", path);
	return D2V_OK;
}

d2v_status d2v_rejected_log_add(
	d2v_rejected_log *log, const char *name, const d2v_rejection *rejection, d2v_error *err) {
	char line[NAME_ROOM + D2V_REJECTION_TEXT * 4 + 64], shown[NAME_ROOM], text[D2V_REJECTION_TEXT * 4];
	if (rejection->name_is_escaped)
		snprintf(shown, sizeof shown, "%s", name);
	else
		d2v_rejection_escape(name, shown, sizeof shown);
	d2v_rejection_escape(rejection->text, text, sizeof text);
	int size = snprintf(line, sizeof line, "%s\t%s\t%s\n", shown, d2v_reason_name(rejection->reason), text);
	D2V_ASSERT(size > 0 && (size_t)size < sizeof line);
	for (int at = 0; at < size;) {
		ssize_t wrote = d2v_file_must_fail() ? -1 : pwrite(log->fd, line + at, (size_t)(size - at), (off_t)log->bytes);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return d2v_fail_errno(err, "%s: cannot be written", log->path);
		at += (int)wrote;
		log->bytes += (uint64_t)wrote;
	}
	log->lines++;
	return D2V_OK;
}

d2v_status d2v_rejected_log_sync(d2v_rejected_log *log, d2v_error *err) {
	return d2v_file_sync(log->path, err);
}

d2v_status d2v_rejected_log_publish(const d2v_rejected_log *log, const char *path, d2v_error *err) {
	char block[1 << 16];
	d2v_file_out *out;
	D2V_TRY(d2v_file_begin(&out, path, err));
	for (uint64_t at = 0; at < log->bytes;) {
		ssize_t got = pread(log->fd, block, sizeof block, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		d2v_status status = got > 0 ? d2v_file_write(out, block, (size_t)got, err)
									: d2v_fail(err, D2V_IO, "%s: cannot be read back", log->path);
		if (status != D2V_OK) {
			d2v_file_abandon(out);
			return status;
		}
		at += (uint64_t)got;
	}
	return d2v_file_commit(out, err);
}

void d2v_rejected_log_close(d2v_rejected_log *log) {
	if (log->fd >= 0)
		close(log->fd);
	d2v_free(log->path);
	*log = (d2v_rejected_log){ .fd = -1 };
}
