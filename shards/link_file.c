#include "shards/link_file.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "shards/shard_trailer.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define STEP ((size_t)4 << 20)

typedef struct copier {
	int fd;
	unsigned char *buffer;
	d2v_hasher *hasher;
	d2v_file_out *out;
	uint64_t hashed; // bytes from the start that the digest is of
} copier;

static d2v_status copy_bytes(copier *self, const char *from, d2v_error *err) {
	for (uint64_t at = 0;;) {
		ssize_t got = read(self->fd, self->buffer, STEP);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return d2v_fail_errno(err, "%s: cannot be read", from);
		if (got == 0)
			return D2V_OK;
		uint64_t left = at < self->hashed ? self->hashed - at : 0;
		d2v_hasher_add(self->hasher, self->buffer, left < (uint64_t)got ? (size_t)left : (size_t)got);
		D2V_TRY(d2v_file_write(self->out, self->buffer, (size_t)got, err));
		at += (uint64_t)got;
	}
}

static d2v_status copy_file(const char *from, const char *to, const d2v_shard_facts *facts, d2v_error *err) {
	copier self = { .fd = open(from, O_RDONLY | O_CLOEXEC),
		.hashed = facts ? d2v_shard_trailer_hashed(facts->bytes) : 0 };
	if (self.fd < 0)
		return d2v_fail_errno(err, "%s: cannot be opened", from);
	d2v_status status = d2v_alloc(&self.buffer, STEP, 1, err);
	if (status == D2V_OK)
		status = d2v_hasher_new(&self.hasher, err);
	if (status == D2V_OK)
		status = d2v_file_begin(&self.out, to, err);
	if (status == D2V_OK)
		status = copy_bytes(&self, from, err);
	if (status == D2V_OK && facts && d2v_hasher_value(self.hasher) != facts->file_digest)
		status = d2v_fail(err, D2V_CORRUPT, "%s: its digest differs; run d2v-shard verify", from);
	if (status == D2V_OK)
		status = d2v_file_commit(self.out, err);
	else
		d2v_file_abandon(self.out);
	d2v_hasher_free(self.hasher);
	d2v_free(self.buffer);
	close(self.fd);
	return status;
}

// Another file system, one without links, a file of somebody else's, too many links.
static bool copying_helps(int number) {
	return number == EXDEV || number == EPERM || number == EOPNOTSUPP || number == ENOSYS || number == EMLINK;
}

d2v_status d2v_link_file(
	const char *from, const char *to, const d2v_shard_facts *facts, bool copy, bool *linked, d2v_error *err) {
	*linked = false;
	if (copy)
		return copy_file(from, to, facts, err);
	*linked = linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0;
	if (*linked)
		return D2V_OK;
	if (copying_helps(errno))
		return copy_file(from, to, facts, err);
	return d2v_fail_errno(err, "%s: cannot be linked to %s", from, to);
}
