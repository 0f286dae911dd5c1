#include "shards/export_sink.h"

#include "base/file.h"
#include "base/folder_out.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef struct folder {
	d2v_export_sink sink;
	d2v_folder_out *out;
	char *last; // folder that was made last: files come in runs
} folder;

static d2v_status next(d2v_export_sink *sink, d2v_error *err) {
	(void)sink;
	(void)err;
	return D2V_OK;
}

static d2v_status make_parent(folder *self, const char *path, d2v_error *err) {
	char *parent;
	D2V_TRY(d2v_strdup(&parent, path, err));
	char *slash = strrchr(parent, '/');
	*slash = '\0'; // the path begins with the temporary folder
	if (self->last && strcmp(self->last, parent) == 0) {
		d2v_free(parent);
		return D2V_OK;
	}
	d2v_status status = d2v_file_make_directories(parent, err);
	d2v_free(self->last);
	self->last = parent;
	return status;
}

// Not one sync a file: all of them are synced before the folder gets its name.
static d2v_status write_new(const char *path, const unsigned char *bytes, size_t size, d2v_error *err) {
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return d2v_fail_errno(err, "%s: cannot be made", path);
	d2v_status status = D2V_OK;
	while (size && status == D2V_OK) {
		ssize_t done = d2v_file_must_fail() ? -1 : write(fd, bytes, size);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			status = d2v_fail_errno(err, "%s: cannot be written", path);
			break;
		}
		bytes += done;
		size -= (size_t)done;
	}
	if (close(fd) < 0 && status == D2V_OK)
		status = d2v_fail_errno(err, "%s: cannot be written", path);
	return status;
}

static d2v_status put(d2v_export_sink *sink, const char *path, const void *bytes, size_t size, d2v_error *err) {
	folder *self = (folder *)sink;
	char *whole;
	D2V_TRY(d2v_path_join(&whole, d2v_folder_place(self->out), path, err));
	d2v_status status = make_parent(self, whole, err);
	if (status == D2V_OK)
		status = write_new(whole, bytes, size, err);
	d2v_free(whole);
	return status;
}

static void release(folder *self) {
	d2v_free(self->last);
	d2v_free(self);
}

static void abandon(d2v_export_sink *sink) {
	folder *self = (folder *)sink;
	d2v_folder_abandon(self->out);
	release(self);
}

static d2v_status commit(d2v_export_sink *sink, d2v_error *err) {
	folder *self = (folder *)sink;
	d2v_status status = d2v_file_sync_all(d2v_folder_place(self->out), err);
	if (status == D2V_OK)
		status = d2v_folder_commit(self->out, err);
	else
		d2v_folder_abandon(self->out);
	release(self);
	return status;
}

static const d2v_export_sink_kind kind = { next, put, commit, abandon };

// Nothing, or an empty folder, which rename replaces.
static d2v_status check_free(const char *out, d2v_error *err) {
	char **names;
	size_t count;
	if (!d2v_file_exists(out))
		return D2V_OK;
	if (!d2v_file_is_directory(out))
		return d2v_fail(err, D2V_EXISTS, "%s: is there already and is no folder", out);
	D2V_TRY(d2v_file_list(out, &names, &count, err));
	d2v_file_names_free(names, count);
	return count ? d2v_fail(err, D2V_EXISTS, "%s: is there already; remove it or give another name", out) : D2V_OK;
}

d2v_status d2v_export_open_folder(d2v_export_sink **sink, const char *out, d2v_error *err) {
	folder *made;
	*sink = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->sink.kind = &kind;
	d2v_status status = check_free(out, err);
	if (status == D2V_OK)
		status = d2v_folder_begin(&made->out, out, err);
	if (status != D2V_OK)
		abandon(&made->sink);
	else
		*sink = &made->sink;
	return status;
}
