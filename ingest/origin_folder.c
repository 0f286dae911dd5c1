// A source that is a folder: the files in it and below it, in sorted order.
#include "base/file.h"
#include "base/memory.h"
#include "ingest/origin_kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// The walk goes down one folder at a time, so what is in memory is the names along the way, not those of the whole
// tree.
#define DEPTH_MAX 64
#define BLOCK_BYTES ((size_t)256 << 10)

typedef struct level {
	char **names; // sorted
	size_t count, next;
	size_t path_size; // of the part of `path` that leads here
} level;

typedef struct tree {
	d2v_origin source;
	char *root;
	char path[D2V_MEMBER_PATH_MAX * 2]; // of the current member, relative
	level levels[DEPTH_MAX];
	int depth; // levels in use
	struct stat facts;
	int fd;               // of the member being read on; -1: none
	unsigned char *block; // NULL until one is read so
	uint64_t bytes;       // of files met
} tree;

static d2v_status full_path(const tree *here, char **path, d2v_error *err) {
	return here->path[0] ? d2v_path_join(path, here->root, here->path, err) : d2v_strdup(path, here->root, err);
}

static d2v_status enter(tree *here, d2v_error *err) {
	if (here->depth == DEPTH_MAX)
		return d2v_fail(
			err, D2V_UNSAFE, "%s/%s: folders within folders more than %d deep", here->root, here->path, DEPTH_MAX);
	level *top = &here->levels[here->depth];
	char *path;
	D2V_TRY(full_path(here, &path, err));
	d2v_status status = d2v_file_list(path, &top->names, &top->count, err);
	d2v_free(path);
	if (status != D2V_OK)
		return status;
	top->next = 0;
	top->path_size = strlen(here->path);
	here->depth++;
	return D2V_OK;
}

static void leave(tree *here) {
	level *top = &here->levels[--here->depth];
	d2v_file_names_free(top->names, top->count);
	top->names = NULL;
}

static d2v_status look_at(tree *here, d2v_member *member, d2v_error *err) {
	char *path;
	D2V_TRY(full_path(here, &path, err));
	bool is_link = lstat(path, &here->facts) == 0 && S_ISLNK(here->facts.st_mode);
	int result = stat(path, &here->facts); // a link to a file is followed: the folder is the user's own
	d2v_free(path);
	if (result < 0)
		d2v_reject(&member->rejection, D2V_REASON_UNREADABLE, "%s", is_link ? "a link to nothing" : strerror(errno));
	else if (S_ISDIR(here->facts.st_mode))
		return is_link ? D2V_OK : enter(here, err); // links to folders could go in circles
	else if (!S_ISREG(here->facts.st_mode))
		d2v_reject(&member->rejection, D2V_REASON_NOT_A_FILE, "neither a file nor a folder");
	else
		here->bytes += (uint64_t)here->facts.st_size;
	member->is_file = true;
	return D2V_OK;
}

static void close_member(tree *here) {
	if (here->fd >= 0)
		close(here->fd);
	here->fd = -1;
}

static d2v_status folder_next(d2v_origin *source, d2v_member *member, d2v_error *err) {
	tree *here = (tree *)source;
	close_member(here);
	while (here->depth && here->levels[here->depth - 1].next == here->levels[here->depth - 1].count)
		leave(here);
	if (!here->depth)
		return D2V_END;
	level *top = &here->levels[here->depth - 1];
	const char *name = top->names[top->next++];
	size_t room = sizeof here->path - top->path_size;
	int length = snprintf(here->path + top->path_size, room, "%s%s", top->path_size ? "/" : "", name);
	if ((size_t)length >= room)
		return d2v_fail(err, D2V_UNSAFE, "%s/%s: the path is too long", here->root, here->path);
	d2v_origin_name_member(source, here->path, member);
	return look_at(here, member, err);
}

static void read_open(int fd, unsigned char *bytes, size_t expected, size_t *size, d2v_rejection *rejection) {
	while (*size <= expected) { // one more byte than expected is asked for: the file may be growing
		ssize_t got = read(fd, bytes + *size, expected + 1 - *size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			d2v_reject(rejection, D2V_REASON_UNREADABLE, "%s", strerror(errno));
		if (got <= 0)
			break;
		*size += (size_t)got;
	}
	if (rejection->reason == D2V_REASON_NONE && *size != expected)
		d2v_reject(rejection, D2V_REASON_WRONG_SIZE, "it changed while it was read");
}

static d2v_status folder_read(d2v_origin *source, uint64_t max_bytes, unsigned char **bytes, size_t *capacity,
	size_t *size, d2v_rejection *rejection, d2v_error *err) {
	tree *here = (tree *)source;
	uint64_t expected = (uint64_t)here->facts.st_size;
	if (expected > max_bytes) {
		d2v_reject(rejection, D2V_REASON_TOO_LARGE, "%llu bytes; --max-member is %llu", (unsigned long long)expected,
			(unsigned long long)max_bytes);
		return D2V_OK;
	}
	char *path;
	D2V_TRY(full_path(here, &path, err));
	d2v_status status = d2v_reserve(bytes, capacity, (size_t)expected + 1, 1, err);
	int fd = status == D2V_OK ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	if (status == D2V_OK && fd < 0)
		d2v_reject(rejection, D2V_REASON_UNREADABLE, "%s", strerror(errno));
	if (fd >= 0) {
		read_open(fd, *bytes, (size_t)expected, size, rejection);
		close(fd);
	}
	d2v_free(path);
	return status;
}

static d2v_status open_member(tree *here, d2v_rejection *rejection, d2v_error *err) {
	char *path;
	if (!here->block)
		D2V_TRY(d2v_alloc(&here->block, BLOCK_BYTES, 1, err));
	D2V_TRY(full_path(here, &path, err));
	here->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (here->fd < 0)
		d2v_reject(rejection, D2V_REASON_UNREADABLE, "%s", strerror(errno));
	d2v_free(path);
	return D2V_OK;
}

static d2v_status folder_read_on(
	d2v_origin *source, const void **bytes, size_t *size, d2v_rejection *rejection, d2v_error *err) {
	tree *here = (tree *)source;
	ssize_t got = 0;
	if (here->fd < 0)
		D2V_TRY(open_member(here, rejection, err));
	if (here->fd < 0)
		return D2V_OK;
	do
		got = read(here->fd, here->block, BLOCK_BYTES);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		d2v_reject(rejection, D2V_REASON_UNREADABLE, "%s", strerror(errno));
	*bytes = here->block;
	*size = got > 0 ? (size_t)got : 0;
	return D2V_OK;
}

static uint64_t folder_stated_size(const d2v_origin *source) {
	return (uint64_t)((const tree *)source)->facts.st_size;
}

static void folder_progress(const d2v_origin *source, uint64_t *done, uint64_t *total) {
	*done = ((const tree *)source)->bytes;
	*total = 0;
}

static d2v_status folder_finish(d2v_origin *source, char checksum[D2V_CHECKSUM_TEXT], uint64_t *bytes, d2v_error *err) {
	(void)err;
	checksum[0] = '\0';
	*bytes = ((tree *)source)->bytes;
	return D2V_OK;
}

static void folder_close(d2v_origin *source) {
	tree *here = (tree *)source;
	while (here->depth)
		leave(here);
	close_member(here);
	d2v_free(here->block);
	d2v_free(here->root);
	d2v_free(here);
}

static const d2v_origin_kind kind = {
	.next = folder_next,
	.read = folder_read,
	.read_on = folder_read_on,
	.stated_size = folder_stated_size,
	.progress = folder_progress,
	.finish = folder_finish,
	.close = folder_close,
};

d2v_status d2v_origin_open_folder(d2v_origin **source, const char *path, d2v_error *err) {
	tree *opened;
	D2V_TRY(d2v_alloc_zero(&opened, 1, sizeof *opened, err));
	opened->source.kind = &kind;
	opened->fd = -1;
	d2v_status status = d2v_strdup(&opened->root, path, err);
	if (status == D2V_OK)
		status = enter(opened, err);
	if (status != D2V_OK)
		folder_close(&opened->source);
	else
		*source = &opened->source;
	return status;
}
