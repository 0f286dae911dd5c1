#include "base/file.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define READ_STEP ((size_t)64 << 10) // how a file grows in memory whose size is not known before (a pipe, /proc)

static d2v_status read_all(
	int fd, const char *path, size_t expected, size_t max_bytes, char **bytes, size_t *size, d2v_error *err) {
	// One byte more than the file is said to have, so that its end is seen without growing; and one for the NUL.
	size_t capacity = 0;
	D2V_TRY(d2v_reserve(bytes, &capacity, expected + 2, 1, err));
	for (;;) {
		ssize_t got = read(fd, *bytes + *size, capacity - 1 - *size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return d2v_fail_errno(err, "%s: cannot be read", path);
		*size += (size_t)got;
		if (*size > max_bytes)
			return d2v_fail(err, D2V_INVALID, "%s: larger than the %zu bytes it may have", path, max_bytes);
		if (got == 0)
			break;
		if (*size + 1 == capacity)
			D2V_TRY(d2v_reserve(bytes, &capacity, capacity + READ_STEP, 1, err));
	}
	(*bytes)[*size] = 0;
	return D2V_OK;
}

d2v_status d2v_file_read(const char *path, size_t max_bytes, void **bytes, size_t *size, d2v_error *err) {
	d2v_status status = D2V_OK;
	char *text = NULL;
	size_t length = 0;
	struct stat about;
	*bytes = NULL;
	*size = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return d2v_fail_errno(err, "%s: cannot be opened", path);
	if (fstat(fd, &about) < 0) {
		status = d2v_fail_errno(err, "%s: cannot be looked at", path);
		goto out;
	}
	if (about.st_size > 0 && (uintmax_t)about.st_size > max_bytes) {
		status = d2v_fail(err, D2V_INVALID, "%s: has %jd bytes, more than the %zu it may have", path,
			(intmax_t)about.st_size, max_bytes);
		goto out;
	}
	status = read_all(fd, path, about.st_size > 0 ? (size_t)about.st_size : 0, max_bytes, &text, &length, err);
	if (status == D2V_OK) {
		*bytes = text;
		*size = length;
		text = NULL;
	}
out:
	d2v_free(text);
	close(fd);
	return status;
}

bool d2v_file_exists(const char *path) {
	struct stat about;
	return stat(path, &about) == 0;
}

bool d2v_file_is_directory(const char *path) {
	struct stat about;
	return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

d2v_status d2v_file_size(const char *path, uint64_t *size, d2v_error *err) {
	struct stat about;
	*size = 0;
	if (stat(path, &about) < 0)
		return d2v_fail_errno(err, "%s: cannot be looked at", path);
	*size = (uint64_t)about.st_size;
	return D2V_OK;
}

// Makes the folder at path, whose parent is there.
static d2v_status make_directory(const char *path, d2v_error *err) {
	if (mkdir(path, 0777) == 0) {
		char *parent;
		D2V_TRY(d2v_path_folder(&parent, path, err));
		d2v_status status = d2v_file_sync_directory(parent, err);
		d2v_free(parent);
		return status;
	}
	int number = errno;
	if (d2v_file_is_directory(path))
		return D2V_OK;
	errno = number == EEXIST ? ENOTDIR : number;
	return d2v_fail_errno(err, "%s: the folder cannot be made", path);
}

d2v_status d2v_file_make_directories(const char *path, d2v_error *err) {
	char *copy;
	D2V_TRY(d2v_strdup(&copy, path, err));
	size_t length = strlen(copy);
	while (length > 1 && copy[length - 1] == '/')
		copy[--length] = 0;
	d2v_status status = D2V_OK;
	for (size_t i = 1; i < length && status == D2V_OK; i++) {
		if (copy[i] != '/' || copy[i - 1] == '/')
			continue;
		copy[i] = 0;
		if (!d2v_file_is_directory(copy))
			status = make_directory(copy, err);
		copy[i] = '/';
	}
	if (status == D2V_OK && !d2v_file_is_directory(copy))
		status = make_directory(copy, err);
	d2v_free(copy);
	return status;
}

d2v_status d2v_file_remove(const char *path, d2v_error *err) {
	if (unlink(path) < 0 && errno != ENOENT)
		return d2v_fail_errno(err, "%s: cannot be removed", path);
	return D2V_OK;
}

static d2v_status remove_entry(int folder, const char *name, const char *path, d2v_error *err);

static d2v_status remove_inside(int fd, const char *path, d2v_error *err) {
	DIR *stream = fdopendir(fd);
	if (!stream) {
		d2v_status status = d2v_fail_errno(err, "%s: cannot be listed", path);
		close(fd);
		return status;
	}
	d2v_status status = D2V_OK;
	struct dirent *entry;
	while (status == D2V_OK && (errno = 0, entry = readdir(stream))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		char *inner;
		status = d2v_path_join(&inner, path, entry->d_name, err);
		if (status == D2V_OK)
			status = remove_entry(dirfd(stream), entry->d_name, inner, err);
		d2v_free(inner);
	}
	if (status == D2V_OK && errno)
		status = d2v_fail_errno(err, "%s: cannot be listed", path);
	closedir(stream);
	return status;
}

// Goes by the open folder and not by the path, and opens without following, so that a link put there meanwhile leads
// nowhere.
static d2v_status remove_entry(int folder, const char *name, const char *path, d2v_error *err) {
	if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
		return D2V_OK;
	int number = errno; // EISDIR here, EPERM by POSIX
	int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		if (errno == ENOTDIR || errno == ELOOP)
			errno = number;
		return d2v_fail_errno(err, "%s: cannot be removed", path);
	}
	D2V_TRY(remove_inside(fd, path, err));
	if (unlinkat(folder, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return d2v_fail_errno(err, "%s: cannot be removed", path);
	return D2V_OK;
}

d2v_status d2v_file_remove_tree(const char *path, d2v_error *err) {
	return remove_entry(AT_FDCWD, path, path, err);
}

d2v_status d2v_file_space_free(const char *path, uint64_t *bytes, d2v_error *err) {
	struct statvfs about;
	char *at;
	*bytes = 0;
	D2V_TRY(d2v_strdup(&at, *path ? path : ".", err));
	d2v_status status = D2V_OK;
	while (statvfs(at, &about) < 0) {
		char *slash = strrchr(at, '/');
		if (errno != ENOENT || strcmp(at, "/") == 0 || strcmp(at, ".") == 0) {
			status = d2v_fail_errno(err, "%s: the free space cannot be read", path);
			goto out;
		}
		if (!slash)
			at[0] = '.', at[1] = 0;
		else
			slash[slash == at] = 0;
	}
	*bytes = (uint64_t)about.f_bavail * about.f_frsize;
out:
	d2v_free(at);
	return status;
}

d2v_status d2v_path_join(char **out, const char *folder, const char *name, d2v_error *err) {
	size_t length = strlen(folder);
	return d2v_asprintf(out, err, "%s%s%s", folder, length && folder[length - 1] != '/' ? "/" : "", name);
}

const char *d2v_path_name(const char *path) {
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

d2v_status d2v_path_folder(char **out, const char *path, d2v_error *err) {
	const char *name = d2v_path_name(path);
	return name == path ? d2v_strdup(out, ".", err) : d2v_asprintf(out, err, "%.*s", (int)(name - path), path);
}

bool d2v_path_is_safe(const char *name) {
	bool leads_below = false;
	if (*name == '/')
		return false;
	while (*name) {
		size_t length = strcspn(name, "/");
		if (length == 2 && name[0] == '.' && name[1] == '.')
			return false;
		leads_below |= length && !(length == 1 && name[0] == '.');
		name += length;
		name += *name == '/';
	}
	return leads_below;
}

static int compare_names(const void *a, const void *b) {
	return strcmp(*(char *const *)a, *(char *const *)b);
}

d2v_status d2v_file_list(const char *folder, char ***names, size_t *count, d2v_error *err) {
	d2v_status status = D2V_OK;
	char **list = NULL;
	size_t used = 0, capacity = 0;
	struct dirent *entry;
	*names = NULL;
	*count = 0;
	DIR *stream = opendir(folder);
	if (!stream)
		return d2v_fail_errno(err, "%s: cannot be listed", folder);
	while (status == D2V_OK && (errno = 0, entry = readdir(stream))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		status = d2v_reserve(&list, &capacity, used + 1, sizeof *list, err);
		if (status == D2V_OK)
			status = d2v_strdup(&list[used], entry->d_name, err);
		used += status == D2V_OK;
	}
	if (status == D2V_OK && errno)
		status = d2v_fail_errno(err, "%s: cannot be listed", folder);
	closedir(stream);
	if (status != D2V_OK) {
		d2v_file_names_free(list, used);
		return status;
	}
	if (used)
		qsort(list, used, sizeof *list, compare_names);
	*names = list;
	*count = used;
	return D2V_OK;
}

void d2v_file_names_free(char **names, size_t count) {
	for (size_t i = 0; names && i < count; i++)
		d2v_free(names[i]);
	d2v_free(names);
}
