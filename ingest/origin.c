#include "ingest/origin.h"

#include "base/file.h"
#include "ingest/address.h"
#include "ingest/origin_kinds.h"
#include "ingest/utf8.h"

#include <stdio.h>
#include <string.h>

d2v_status d2v_origin_open(d2v_origin **source, const char *where, const d2v_origin_options *options, d2v_error *err) {
	*source = NULL;
	if (!d2v_address_is_url(where) && d2v_file_is_directory(where))
		return d2v_origin_open_folder(source, where, err);
	if (options->single)
		return d2v_origin_open_single(source, where, options, err);
	return d2v_origin_open_archive(source, where, options, err);
}

// ---- the archive inside

static d2v_status read_for_inner(void *context, const void **bytes, size_t *size, d2v_error *err) {
	d2v_origin *source = context;
	d2v_rejection rejection = { 0 };
	*size = 0;
	d2v_status status = source->kind->read_on(source, bytes, size, &rejection, err);
	source->failed = status != D2V_OK;
	if (status == D2V_OK && rejection.reason != D2V_REASON_NONE)
		return d2v_fail(err, D2V_CORRUPT, "%s", rejection.text);
	return status;
}

static void leave(d2v_origin *source) {
	if (source->inner)
		source->inner->kind->close(source->inner);
	source->inner = NULL;
}

static bool is_inner_fault(const d2v_origin *source, d2v_status status) {
	return !source->failed && (status == D2V_CORRUPT || status == D2V_UNSAFE);
}

// The archive inside is of no more use. That is a rejected member of the source, unless it is the source that failed,
// or the machine.
static d2v_status give_up_inner(d2v_origin *source, d2v_member *member, const d2v_error *why, d2v_error *err) {
	leave(source);
	if (!is_inner_fault(source, why->status))
		return d2v_fail(err, why->status, "%s", why->text);
	*member = (d2v_member){ .index = source->count++, .path = source->path, .is_file = true };
	d2v_reject(&member->rejection, D2V_REASON_UNREADABLE, "%s", why->text);
	return D2V_OK;
}

d2v_status d2v_origin_enter(d2v_origin *source, d2v_error *err) {
	d2v_stream *stream;
	d2v_error why = { 0 };
	D2V_ASSERT(!source->inner && !source->entered);
	source->failed = false;
	d2v_bytes bytes = { .read = read_for_inner, .context = source, .name = source->path };
	D2V_TRY(d2v_stream_open_bytes(&stream, &bytes, err));
	d2v_status status = d2v_origin_open_stream(&source->inner, stream, NULL, &why);
	if (status != D2V_OK && !is_inner_fault(source, status))
		return d2v_fail(err, status, "%s", why.text);
	source->entered = true;
	source->why = why;
	return D2V_OK;
}

static d2v_status next_of_inner(d2v_origin *source, d2v_member *member, d2v_error *err) {
	d2v_error why = { 0 };
	d2v_status status = d2v_origin_next(source->inner, member, &why);
	if (status == D2V_END) {
		leave(source);
		return D2V_END;
	}
	if (status != D2V_OK)
		return give_up_inner(source, member, &why, err);
	size_t room = sizeof source->inner_path;
	member->index = source->count++;
	member->is_inner = true;
	if ((size_t)snprintf(source->inner_path, room, "%s/%s", source->path, member->path) >= room)
		d2v_reject(&member->rejection, D2V_REASON_UNSAFE_NAME, "a name of more than %d bytes with its archive's",
			D2V_MEMBER_PATH_MAX);
	member->path = source->inner_path;
	return D2V_OK;
}

// The members of the archive that was entered, then D2V_END.
static d2v_status next_entered(d2v_origin *source, d2v_member *member, d2v_error *err) {
	if (source->inner) {
		d2v_status status = next_of_inner(source, member, err);
		if (status != D2V_END)
			return status;
	} else if (source->why.status != D2V_OK) { // it could not be opened
		d2v_error why = source->why;
		source->why = (d2v_error){ 0 };
		return give_up_inner(source, member, &why, err);
	}
	return D2V_END;
}

// ---- members

d2v_status d2v_origin_next(d2v_origin *source, d2v_member *member, d2v_error *err) {
	*member = (d2v_member){ 0 };
	if (source->entered) {
		d2v_status status = next_entered(source, member, err);
		if (status != D2V_END)
			return status;
		source->entered = false;
	}
	return source->kind->next(source, member, err);
}

// Reading a member of the inner archive came to `status`. When that is the archive's fault the member is lost; that the
// rest of the archive is too is told by next.
static d2v_status settle_inner(
	d2v_origin *source, d2v_status status, const d2v_error *why, d2v_rejection *rejection, d2v_error *err) {
	if (status == D2V_OK)
		return D2V_OK;
	if (!is_inner_fault(source, status))
		return d2v_fail(err, status, "%s", why->text);
	leave(source);
	source->why = *why;
	d2v_reject(rejection, D2V_REASON_UNREADABLE, "the archive is damaged or cut off within this member");
	return D2V_OK;
}

d2v_status d2v_origin_read(d2v_origin *source, uint64_t max_bytes, unsigned char **bytes, size_t *capacity,
	size_t *size, d2v_rejection *rejection, d2v_error *err) {
	d2v_error why = { 0 };
	*size = 0;
	if (!source->inner)
		return source->kind->read(source, max_bytes, bytes, capacity, size, rejection, err);
	d2v_status status = source->inner->kind->read(source->inner, max_bytes, bytes, capacity, size, rejection, &why);
	return settle_inner(source, status, &why, rejection, err);
}

d2v_status d2v_origin_read_on(
	d2v_origin *source, const void **bytes, size_t *size, d2v_rejection *rejection, d2v_error *err) {
	d2v_error why = { 0 };
	*size = 0;
	if (!source->inner)
		return source->kind->read_on(source, bytes, size, rejection, err);
	d2v_status status = source->inner->kind->read_on(source->inner, bytes, size, rejection, &why);
	return settle_inner(source, status, &why, rejection, err);
}

uint64_t d2v_origin_stated_size(const d2v_origin *source) {
	return source->inner ? source->inner->kind->stated_size(source->inner) : source->kind->stated_size(source);
}

void d2v_origin_progress(const d2v_origin *source, uint64_t *done, uint64_t *total) {
	source->kind->progress(source, done, total);
}

d2v_status d2v_origin_finish(d2v_origin *source, char checksum[D2V_CHECKSUM_TEXT], uint64_t *bytes, d2v_error *err) {
	return source->kind->finish(source, checksum, bytes, err);
}

void d2v_origin_close(d2v_origin *source) {
	if (!source)
		return;
	leave(source);
	source->kind->close(source);
}

// ---- names

// Copies name without "." components and empty ones. False: too long.
static bool tidy(const char *name, char *out, size_t size) {
	size_t at = 0;
	while (*name) {
		size_t length = strcspn(name, "/");
		if (length && !(length == 1 && name[0] == '.')) {
			if (at + 1 + length + 1 > size)
				return false;
			if (at)
				out[at++] = '/';
			memcpy(out + at, name, length);
			at += length;
		}
		name += length + (name[length] == '/');
	}
	out[at] = '\0';
	return true;
}

static d2v_reason judge_name(const char *name, d2v_rejection *rejection) {
	if (!name)
		return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "its name cannot be read");
	if (name[0] == '/')
		return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "an absolute name");
	if (!d2v_utf8_is_text(name, strlen(name)))
		return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "its name is no UTF-8");
	if (d2v_utf8_has_control(name, strlen(name)))
		return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "control characters in its name");
	for (const char *at = name; *at; at += strcspn(at, "/"), at += *at == '/')
		if (strcspn(at, "/") == 2 && at[0] == '.' && at[1] == '.')
			return d2v_reject(rejection, D2V_REASON_UNSAFE_NAME, "its name leads out of the folder with \"..\"");
	return D2V_REASON_NONE;
}

void d2v_origin_name_member(d2v_origin *source, const char *name, d2v_member *member) {
	member->index = source->count++;
	member->path = source->path;
	source->path[0] = '\0';
	if (judge_name(name, &member->rejection) == D2V_REASON_NONE && !tidy(name, source->path, sizeof source->path))
		d2v_reject(&member->rejection, D2V_REASON_UNSAFE_NAME, "a name of %zu bytes; %d are allowed", strlen(name),
			D2V_MEMBER_PATH_MAX);
	if (member->rejection.reason != D2V_REASON_NONE) {
		d2v_rejection_escape(name ? name : "?", source->path, 256);
		member->rejection.name_is_escaped = true;
	}
}
