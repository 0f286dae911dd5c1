#include "ingest/download_file.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "ingest/address.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPARE_BYTES ((uint64_t)64 << 20) // what must be left on the disk beside the file
#define HASH_BYTES ((size_t)1 << 20)

typedef struct partial {
	char *path, *note_path; // NAME.part, NAME.part.json
	int fd;
	uint64_t have;
	d2v_download_version version;
	bool noted;
} partial;

static void part_release(partial *part) {
	if (part->fd >= 0)
		close(part->fd);
	d2v_free(part->path);
	d2v_free(part->note_path);
}

// A note that cannot be read, or that speaks of another file, only means starting over.
static void read_note(partial *part, const char *url, uint64_t size) {
	json_t *note = NULL;
	const char *of, *tag;
	uint64_t total;
	if (d2v_json_load(part->note_path, 1 << 16, &note, NULL) == D2V_OK &&
		d2v_json_get_string(note, "url", "", &of, NULL) == D2V_OK && strcmp(of, url) == 0 &&
		d2v_json_get_string(note, "version", "", &tag, NULL) == D2V_OK && strlen(tag) < sizeof part->version.tag &&
		d2v_json_get_u64(note, "bytes", "", UINT64_MAX >> 1, &total, NULL) == D2V_OK && tag[0] &&
		(!total || size <= total)) {
		snprintf(part->version.tag, sizeof part->version.tag, "%s", tag);
		part->version.size = total;
		part->have = size;
	}
	json_decref(note);
}

static d2v_status write_note(partial *part, const char *url, d2v_error *err) {
	json_t *note =
		json_pack("{s:s, s:s, s:I}", "url", url, "version", part->version.tag, "bytes", (json_int_t)part->version.size);
	if (!note)
		return d2v_fail(err, D2V_NO_MEMORY, "%s: out of memory", part->note_path);
	d2v_status status = d2v_json_save(note, part->note_path, err);
	json_decref(note);
	return status;
}

static d2v_status part_open(partial *part, const char *url, const char *path, d2v_error *err) {
	D2V_TRY(d2v_asprintf(&part->path, err, "%s.part", path));
	D2V_TRY(d2v_asprintf(&part->note_path, err, "%s.part.json", path));
	part->fd = open(part->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	struct stat facts;
	if (part->fd < 0 || fstat(part->fd, &facts) < 0)
		return d2v_fail_errno(err, "%s: cannot be opened", part->path);
	char shown[1024];
	read_note(part, d2v_address_public(url, shown, sizeof shown), (uint64_t)facts.st_size);
	return D2V_OK;
}

static d2v_status check_space(const partial *part, uint64_t total, d2v_error *err) {
	uint64_t available;
	char need[D2V_PROGRESS_TEXT], there[D2V_PROGRESS_TEXT];
	if (total <= part->have)
		return D2V_OK;
	D2V_TRY(d2v_file_space_free(part->path, &available, err));
	uint64_t missing = total - part->have + SPARE_BYTES;
	if (missing <= available)
		return D2V_OK;
	return d2v_fail(err, D2V_NO_SPACE,
		"%s: the download needs %s of disk, %s are free; make room and run the same command again", part->path,
		d2v_progress_bytes((double)missing, need), d2v_progress_bytes((double)available, there));
}

static d2v_status write_all(partial *part, const unsigned char *bytes, size_t size, d2v_error *err) {
	while (size) {
		ssize_t wrote = pwrite(part->fd, bytes, size, (off_t)part->have);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0) {
			d2v_status status = d2v_fail_errno(err, "%s: cannot be written", part->path);
			if (status != D2V_NO_SPACE)
				return status;
			return d2v_fail(err, status, "%s: the disk is full; make room and run the same command again", part->path);
		}
		bytes += wrote, size -= (size_t)wrote;
		part->have += (uint64_t)wrote;
	}
	return D2V_OK;
}

static d2v_status fetch(partial *part, const char *url, const d2v_download_options *options,
	d2v_download_progress *progress, void *context, d2v_error *err) {
	d2v_download *download;
	char shown[1024]; // what is noted holds no login
	d2v_address_public(url, shown, sizeof shown);
	D2V_TRY(d2v_download_open(&download, url, options, part->have, &part->version, err));
	d2v_status status = D2V_OK;
	while (status == D2V_OK) {
		const void *bytes;
		size_t size;
		uint64_t at;
		status = d2v_download_read(download, &bytes, &size, &at, err);
		if (status != D2V_OK || !size)
			break;
		if (!part->noted) {
			part->have = at; // 0 when there is nothing to go on from
			part->version = *d2v_download_version_of(download);
			part->noted = true;
			status = check_space(part, d2v_download_total(download), err);
			if (status == D2V_OK && ftruncate(part->fd, (off_t)part->have) < 0)
				status = d2v_fail_errno(err, "%s: cannot be cut", part->path);
			if (status == D2V_OK)
				status = write_note(part, shown, err);
		}
		if (status == D2V_OK)
			status = write_all(part, bytes, size, err);
		if (progress)
			progress(context, part->have, d2v_download_total(download));
	}
	d2v_download_close(download);
	return status;
}

static d2v_status hash_part(partial *part, char hex[D2V_HASH_HEX], d2v_error *err) {
	d2v_checksum *sum = NULL;
	unsigned char *block = NULL;
	ssize_t got = 0;
	d2v_status status = d2v_checksum_new(&sum, D2V_MD5, err);
	if (status == D2V_OK)
		status = d2v_alloc(&block, HASH_BYTES, 1, err);
	for (off_t at = 0; status == D2V_OK && (got = pread(part->fd, block, HASH_BYTES, at)) > 0; at += got)
		status = d2v_checksum_add(sum, block, (size_t)got, err);
	if (status == D2V_OK && got < 0)
		status = d2v_fail_errno(err, "%s: cannot be read back", part->path);
	if (status == D2V_OK)
		status = d2v_checksum_hex(sum, hex, err);
	d2v_free(block);
	d2v_checksum_free(sum);
	return status;
}

static d2v_status publish(partial *part, const char *path, const char *md5, d2v_error *err) {
	char hex[D2V_HASH_HEX];
	if (md5) {
		D2V_TRY(hash_part(part, hex, err));
		if (strcmp(hex, md5) != 0) {
			D2V_TRY(d2v_file_remove(part->note_path, err));
			D2V_TRY(d2v_file_remove(part->path, err));
			return d2v_fail(err, D2V_CORRUPT,
				"%s: the MD5 of what the server sent is %s, expected %s; it was thrown away: run again, or use another "
				"server (--mirror)",
				path, hex, md5);
		}
	}
	D2V_TRY(d2v_file_sync(part->path, err));
	D2V_TRY(d2v_file_publish(part->path, path, err));
	return d2v_file_remove(part->note_path, err);
}

d2v_status d2v_download_file(const char *url, const char *path, const char *md5, const d2v_download_options *options,
	d2v_download_progress *progress, void *context, d2v_error *err) {
	d2v_error local;
	if (!err)
		err = &local;
	uint64_t size;
	if (d2v_file_exists(path)) {
		D2V_TRY(d2v_file_size(path, &size, err));
		if (!options->expected || size == options->expected)
			return D2V_OK;
		return d2v_fail(err, D2V_EXISTS, "%s: has %llu bytes where %llu are expected; remove it and run again", path,
			(unsigned long long)size, (unsigned long long)options->expected);
	}
	partial part = { .fd = -1 };
	d2v_status status = part_open(&part, url, path, err);
	if (status == D2V_OK)
		status = check_space(&part, options->expected, err);
	if (status == D2V_OK && !(part.have && part.have == part.version.size))
		status = fetch(&part, url, options, progress, context, err);
	if (status == D2V_OK)
		status = publish(&part, path, md5, err);
	part_release(&part);
	return status;
}
