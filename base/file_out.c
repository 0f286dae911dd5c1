// The half of base/file.h that writes: what has to survive a kill or a full disk.
#include "base/file.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)1 << 20) // small writes are gathered up to this

struct d2v_file_out {
	int fd;
	char *path;      // what it will be called
	char *temporary; // what it is called
	unsigned char *buffer;
	size_t held; // bytes of buffer not yet written
	uint64_t written;
	bool failed; // once a write failed the content is unknown, and commit must fail as well
};

static atomic_long until_failure = -1;

void d2v_file_fail_after(long n) {
	atomic_store(&until_failure, n < 0 ? -1 : n);
}

// True for the one write or fsync that a test wants to fail; errno is set.
bool d2v_file_must_fail(void) {
	if (atomic_load_explicit(&until_failure, memory_order_relaxed) < 0 || atomic_fetch_sub(&until_failure, 1) != 0)
		return false;
	errno = ENOSPC;
	return true;
}

static int sync_descriptor(int fd) {
	if (d2v_file_must_fail())
		return -1;
	int result;
	do
		result = fsync(fd);
	while (result < 0 && errno == EINTR);
	return result;
}

static d2v_status sync_path(const char *path, int flags, d2v_error *err) {
	int fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return d2v_fail_errno(err, "%s: cannot be opened to sync it", path);
	d2v_status status = D2V_OK;
	// Some file systems know no fsync of a folder and say EINVAL: there is nothing more that we could do there.
	if (sync_descriptor(fd) < 0 && !((flags & O_DIRECTORY) && errno == EINVAL))
		status = d2v_fail_errno(err, "%s: cannot be synced to disk", path);
	close(fd);
	return status;
}

d2v_status d2v_file_sync_directory(const char *path, d2v_error *err) {
	return sync_path(path, O_RDONLY | O_DIRECTORY, err);
}

d2v_status d2v_file_sync(const char *path, d2v_error *err) {
	return sync_path(path, O_RDONLY, err);
}

d2v_status d2v_file_sync_all(const char *folder, d2v_error *err) {
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return d2v_fail_errno(err, "%s: cannot be opened to sync it", folder);
	d2v_status status = D2V_OK;
	if (d2v_file_must_fail() || syncfs(fd) < 0)
		status = d2v_fail_errno(err, "%s: cannot be synced to disk", folder);
	close(fd);
	return status;
}

d2v_status d2v_file_publish(const char *from, const char *to, d2v_error *err) {
	char *folder;
	D2V_TRY(d2v_path_folder(&folder, to, err));
	d2v_status status = D2V_OK;
	if (rename(from, to) < 0)
		status = d2v_fail_errno(err, "%s: cannot be renamed to %s", from, to);
	if (status == D2V_OK)
		status = d2v_file_sync_directory(folder, err);
	d2v_free(folder);
	return status;
}

// True when the writer of this temporary file has ended. Both signs must agree: the process is not there, and nobody on
// any host that shares the folder holds the file's lock.
static bool is_left_over(int folder, const char *name, const char *digits) {
	char *end;
	errno = 0;
	long pid = strtol(digits, &end, 10);
	if (*digits < '0' || *digits > '9' || *end || errno || pid <= 0 || pid > INT32_MAX)
		return false;
	if (kill((pid_t)pid, 0) == 0 || errno != ESRCH)
		return false;
	int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool unlocked = flock(fd, LOCK_EX | LOCK_NB) == 0;
	close(fd);
	return unlocked;
}

// Removes what killed runs left of earlier attempts at this file. Only tidying: failing to is no failure.
static void remove_left_overs(const char *folder, const char *name) {
	DIR *stream = opendir(folder);
	if (!stream)
		return;
	size_t length = strlen(name);
	struct dirent *entry;
	while ((entry = readdir(stream))) {
		const char *found = entry->d_name;
		if (strncmp(found, name, length) == 0 && strncmp(found + length, ".tmp-", 5) == 0 &&
			is_left_over(dirfd(stream), found, found + length + 5))
			unlinkat(dirfd(stream), found, 0);
	}
	closedir(stream);
}

// Opens the temporary file and locks it: a file of this name may be left of a dead process that had our number (then it
// is emptied), or be written by another thread of ours (then that one goes on and we fail).
static d2v_status open_temporary(d2v_file_out *out, d2v_error *err) {
	out->fd = open(out->temporary, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (out->fd < 0)
		return d2v_fail_errno(err, "%s: cannot be written (is its folder there?)", out->path);
	if (flock(out->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return d2v_fail(err, D2V_EXISTS, "%s: is being written already", out->path);
	if (ftruncate(out->fd, 0) < 0) {
		d2v_status status = d2v_fail_errno(err, "%s: cannot be emptied", out->temporary);
		unlink(out->temporary);
		return status;
	}
	return D2V_OK;
}

static void free_out(d2v_file_out *out) {
	if (out->fd >= 0)
		close(out->fd);
	d2v_free(out->path);
	d2v_free(out->temporary);
	d2v_free(out->buffer);
	d2v_free(out);
}

static d2v_status check_replaceable(const char *path, d2v_error *err) {
	struct stat facts;
	if (stat(path, &facts) == 0 && !S_ISREG(facts.st_mode))
		return d2v_fail(err, D2V_INVALID, "%s: is %s; give the name of a file", path,
			S_ISDIR(facts.st_mode) ? "a folder" : "a device, a pipe or a socket");
	return D2V_OK;
}

d2v_status d2v_file_begin(d2v_file_out **out, const char *path, d2v_error *err) {
	d2v_file_out *made;
	char *folder = NULL;
	*out = NULL;
	D2V_TRY(check_replaceable(path, err));
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->fd = -1;
	d2v_status status = d2v_path_folder(&folder, path, err);
	if (status == D2V_OK)
		status = d2v_strdup(&made->path, path, err);
	if (status == D2V_OK)
		status = d2v_asprintf(&made->temporary, err, "%s.tmp-%ld", path, (long)getpid());
	if (status == D2V_OK)
		status = d2v_alloc(&made->buffer, BUFFER_BYTES, 1, err);
	if (status == D2V_OK) {
		remove_left_overs(folder, d2v_path_name(path));
		status = open_temporary(made, err);
	}
	d2v_free(folder);
	if (status != D2V_OK) {
		free_out(made);
		return status;
	}
	*out = made;
	return D2V_OK;
}

static d2v_status write_through(d2v_file_out *out, const unsigned char *bytes, size_t size, d2v_error *err) {
	while (size) {
		ssize_t done = d2v_file_must_fail() ? -1 : write(out->fd, bytes, size);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			out->failed = true;
			return d2v_fail_errno(err, "%s: cannot be written", out->temporary);
		}
		bytes += done;
		size -= (size_t)done;
	}
	return D2V_OK;
}

static d2v_status flush(d2v_file_out *out, d2v_error *err) {
	size_t held = out->held;
	out->held = 0;
	return write_through(out, out->buffer, held, err);
}

d2v_status d2v_file_write(d2v_file_out *out, const void *bytes, size_t size, d2v_error *err) {
	if (out->failed)
		return d2v_fail(err, D2V_IO, "%s: an earlier write failed", out->temporary);
	out->written += size;
	if (size > BUFFER_BYTES - out->held)
		D2V_TRY(flush(out, err));
	if (size >= BUFFER_BYTES)
		return write_through(out, bytes, size, err);
	if (size)
		memcpy(out->buffer + out->held, bytes, size);
	out->held += size;
	return D2V_OK;
}

uint64_t d2v_file_written(const d2v_file_out *out) {
	return out->written;
}

d2v_status d2v_file_commit(d2v_file_out *out, d2v_error *err) {
	d2v_status status = D2V_OK;
	if (out->failed)
		status = d2v_fail(err, D2V_IO, "%s: an earlier write failed", out->temporary);
	else
		status = flush(out, err);
	if (status == D2V_OK && sync_descriptor(out->fd) < 0)
		status = d2v_fail_errno(err, "%s: cannot be synced to disk", out->temporary);
	if (status != D2V_OK) {
		d2v_file_abandon(out);
		return status;
	}
	// The lock goes with the descriptor, so the file is renamed before it is closed.
	status = d2v_file_publish(out->temporary, out->path, err);
	if (status != D2V_OK)
		unlink(out->temporary); // not there any more when only the folder could not be synced
	free_out(out);
	return status;
}

void d2v_file_abandon(d2v_file_out *out) {
	if (!out)
		return;
	unlink(out->temporary);
	free_out(out);
}

d2v_status d2v_file_replace(const char *path, const void *bytes, size_t size, d2v_error *err) {
	d2v_file_out *out;
	D2V_TRY(d2v_file_begin(&out, path, err));
	d2v_status status = d2v_file_write(out, bytes, size, err);
	if (status != D2V_OK) {
		d2v_file_abandon(out);
		return status;
	}
	return d2v_file_commit(out, err);
}

d2v_status d2v_file_lock(int *fd, const char *path, d2v_error *err) {
	*fd = -1;
	int opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (opened < 0)
		return d2v_fail_errno(err, "%s: the lock file cannot be opened", path);
	if (flock(opened, LOCK_EX | LOCK_NB) < 0) {
		d2v_status status =
			errno == EWOULDBLOCK
				? d2v_fail(err, D2V_EXISTS, "%s: another program is at work here; wait for it or stop it", path)
				: d2v_fail_errno(err, "%s: cannot be locked", path);
		close(opened);
		return status;
	}
	*fd = opened;
	return D2V_OK;
}

void d2v_file_unlock(int fd) {
	if (fd >= 0)
		close(fd);
}
