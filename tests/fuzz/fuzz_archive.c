// Arbitrary bytes as an archive: every member is refused, or has a safe name and can be read within its bound, also in
// archives within; and what the layouts and the checks of audio containers make of it.
#include "base/file.h"
#include "base/memory.h"
#include "ingest/container_check.h"
#include "ingest/flac_header.h"
#include "ingest/layout.h"
#include "shards/record.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMBERS_MAX 64
#define MEMBER_BYTES_MAX (1u << 16)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef struct content {
	unsigned char *bytes;
	size_t capacity, size;
} content;

static void look_at(const d2v_member *member, const content *read) {
	const d2v_layout_options options = {
		.split = "train", .texts = true, .split_folders = true, .label_folders = true
	};
	static const d2v_layout *const layouts[] = { &d2v_layout_librispeech, &d2v_layout_audio, &d2v_layout_images,
		&d2v_layout_imagenet };
	d2v_flac_header header;
	for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
		d2v_place place = { .label = D2V_RECORD_NO_LABEL };
		const char *text;
		size_t text_size;
		layouts[i]->place(&options, member->path, &place);
		D2V_ASSERT(place.role != D2V_ROLE_SAMPLE || (place.name[0] && d2v_layout_is_split_name(place.split)));
		D2V_ASSERT(strlen(place.class_name) <= D2V_CLASS_NAME_MAX);
		if (!layouts[i]->count_texts)
			continue;
		layouts[i]->count_texts((const char *)read->bytes, read->size);
		if (layouts[i]->find_text((const char *)read->bytes, read->size, "1-2-0003", &text, &text_size))
			D2V_ASSERT(text >= (const char *)read->bytes && text_size <= read->size);
	}
	(void)d2v_container_check(read->bytes, read->size);
	if (d2v_flac_header_parse(read->bytes, read->size, &header))
		(void)d2v_flac_header_contradiction(read->bytes, read->size, &header);
}

static bool is_class_tar(const char *path) {
	d2v_place place = { 0 };
	d2v_layout_imagenet.place(&(d2v_layout_options){ .split = "train" }, path, &place);
	return place.role == D2V_ROLE_ARCHIVE;
}

static d2v_status take_member(d2v_origin *origin, content *read, d2v_error *err) {
	d2v_member member;
	d2v_rejection rejection = { 0 };
	D2V_TRY(d2v_origin_next(origin, &member, err));
	D2V_ASSERT(d2v_record_is_text(member.path, strlen(member.path)));
	if (!member.is_file || member.rejection.reason != D2V_REASON_NONE)
		return D2V_OK;
	D2V_ASSERT(d2v_path_is_safe(member.path));
	if (!member.is_inner && is_class_tar(member.path))
		return d2v_origin_enter(origin, err);
	read->size = 0;
	D2V_TRY(d2v_origin_read(origin, MEMBER_BYTES_MAX, &read->bytes, &read->capacity, &read->size, &rejection, err));
	if (rejection.reason != D2V_REASON_NONE)
		return D2V_OK;
	D2V_ASSERT(read->size <= MEMBER_BYTES_MAX);
	look_at(&member, read);
	return D2V_OK;
}

static void read_all(const char *path) {
	const d2v_origin_options options = { .md5 = NULL };
	d2v_origin *origin;
	d2v_error err = { 0 };
	content read = { 0 };
	char checksum[D2V_CHECKSUM_TEXT];
	uint64_t size;
	if (d2v_origin_open(&origin, path, &options, &err) != D2V_OK)
		return;
	d2v_status status = D2V_OK;
	for (int i = 0; i < MEMBERS_MAX && status == D2V_OK; i++)
		status = take_member(origin, &read, &err);
	D2V_ASSERT(status != D2V_INVALID && status != D2V_NO_MEMORY);
	if (status == D2V_END)
		(void)d2v_origin_finish(origin, checksum, &size, &err);
	d2v_free(read.bytes);
	d2v_origin_close(origin);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
	char path[64];
	int fd = memfd_create("archive", MFD_CLOEXEC);
	D2V_ASSERT(fd >= 0);
	D2V_ASSERT(write(fd, bytes, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	read_all(path);
	close(fd);
	return 0;
}
