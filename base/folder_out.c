#include "base/folder_out.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct d2v_folder_out {
	char *path, *temporary;
	int lock; // of the temporary folder itself; it goes along when that is renamed
};

static void release(d2v_folder_out *out) {
	if (out->lock >= 0)
		close(out->lock);
	d2v_free(out->path);
	d2v_free(out->temporary);
	d2v_free(out);
}

static d2v_status fail_busy(const d2v_folder_out *out, d2v_error *err) {
	return d2v_fail(err, D2V_EXISTS, "%s: another program is writing it; wait for it or stop it", out->path);
}

// File systems without locks of folders (NFS) are taken as they are.
static d2v_status take_lock(d2v_folder_out *out, d2v_error *err) {
	out->lock = open(out->temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out->lock < 0)
		return errno == ENOENT ? fail_busy(out, err) : d2v_fail_errno(err, "%s: cannot be opened", out->temporary);
	return flock(out->lock, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK ? fail_busy(out, err) : D2V_OK;
}

// Of a program that was killed, since nobody holds its lock.
static d2v_status remove_left_over(d2v_folder_out *out, d2v_error *err) {
	if (!d2v_file_is_directory(out->temporary))
		return d2v_file_remove_tree(out->temporary, err);
	D2V_TRY(take_lock(out, err));
	d2v_status status = d2v_file_remove_tree(out->temporary, err);
	close(out->lock);
	out->lock = -1;
	return status;
}

// Another program may have taken ours for a left-over before it was locked.
static d2v_status check_still_ours(const d2v_folder_out *out, d2v_error *err) {
	struct stat locked, named;
	if (fstat(out->lock, &locked) == 0 && stat(out->temporary, &named) == 0 && locked.st_dev == named.st_dev &&
		locked.st_ino == named.st_ino)
		return D2V_OK;
	return fail_busy(out, err);
}

static d2v_status open_folder(d2v_folder_out *out, const char *path, d2v_error *err) {
	D2V_TRY(d2v_strdup(&out->path, path, err));
	for (size_t end = strlen(out->path); end > 1 && out->path[end - 1] == '/'; end--)
		out->path[end - 1] = '\0';
	D2V_TRY(d2v_asprintf(&out->temporary, err, "%s.partial", out->path));
	D2V_TRY(remove_left_over(out, err));
	D2V_TRY(d2v_file_make_directories(out->temporary, err));
	D2V_TRY(take_lock(out, err));
	return check_still_ours(out, err);
}

d2v_status d2v_folder_begin(d2v_folder_out **out, const char *path, d2v_error *err) {
	d2v_folder_out *made;
	*out = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->lock = -1;
	d2v_status status = open_folder(made, path, err);
	if (status == D2V_OK)
		*out = made;
	else if (status == D2V_EXISTS)
		release(made); // what is there is another's
	else
		d2v_folder_abandon(made);
	return status;
}

const char *d2v_folder_place(const d2v_folder_out *out) {
	return out->temporary;
}

void d2v_folder_abandon(d2v_folder_out *out) {
	if (!out)
		return;
	if (out->temporary)
		d2v_file_remove_tree(out->temporary, NULL);
	release(out);
}

d2v_status d2v_folder_commit(d2v_folder_out *out, d2v_error *err) {
	d2v_status status = d2v_file_publish(out->temporary, out->path, err);
	if (status != D2V_OK)
		d2v_folder_abandon(out);
	else
		release(out);
	return status;
}
