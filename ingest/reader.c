#include "ingest/reader.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/signals.h"
#include "ingest/address.h"
#include "ingest/decoder.h"
#include "ingest/download_file.h"

#include <stdio.h>
#include <string.h>

d2v_layout_options d2v_reader_places(const d2v_ingest_options *options, uint32_t index) {
	d2v_layout_options places = options->places;
	if (options->sources[index].split)
		places.split = options->sources[index].split;
	return places;
}

static void show_download(void *context, uint64_t done, uint64_t total) {
	char have[D2V_PROGRESS_TEXT], whole[D2V_PROGRESS_TEXT];
	d2v_progress_update(context, (double)done, (double)total, "downloaded %s of %s",
		d2v_progress_bytes((double)done, have), total ? d2v_progress_bytes((double)total, whole) : "?");
}

static d2v_status keep_download(const d2v_ingest_options *options, const d2v_ingest_source *source,
	const d2v_download_options *download, char **path, d2v_error *err) {
	char name[256];
	snprintf(name, sizeof name, "%s", d2v_path_name(source->where));
	name[strcspn(name, "?#")] = '\0';
	if (!name[0] || name[0] == '.')
		snprintf(name, sizeof name, "download");
	D2V_TRY(d2v_file_make_directories(options->keep, err));
	D2V_TRY(d2v_path_join(path, options->keep, name, err));
	d2v_progress *progress = NULL;
	d2v_status status = d2v_progress_new(&progress, options->quiet, err);
	if (status == D2V_OK)
		status = d2v_download_file(source->where, *path, source->md5, download, show_download, progress, err);
	d2v_progress_free(progress);
	return status;
}

d2v_status d2v_reader_open_source(
	const d2v_ingest_options *options, uint32_t index, d2v_origin **opened, d2v_error *err) {
	const d2v_ingest_source *source = &options->sources[index];
	char name[256];
	d2v_origin_options how = { .md5 = source->md5, .sha256 = source->sha256, .download = options->download };
	d2v_origin_single_name(source->where, name, sizeof name);
	how.single = options->layout->is_single && options->layout->is_single(name);
	how.download.expected = source->bytes;
	how.download.headers = source->is_public ? NULL : options->login;
	how.download.header_count = source->is_public ? 0 : options->login_count;
	char *path = NULL;
	*opened = NULL;
	d2v_status status = D2V_OK;
	if (options->keep && d2v_address_is_url(source->where))
		status = keep_download(options, source, &how.download, &path, err);
	if (status == D2V_OK)
		status = d2v_origin_open(opened, path ? path : source->where, &how, err);
	d2v_free(path);
	return status;
}

static d2v_status names_path(const d2v_reader *reader, uint32_t source, char **path, d2v_error *err) {
	return d2v_asprintf(path, err, "%s/names-%05u", reader->state, source);
}

d2v_status d2v_reader_open(d2v_reader *reader, const d2v_ingest_options *options, const char *state,
	const d2v_journal *journal, d2v_error *err) {
	*reader = (d2v_reader){ .options = options, .state = state, .index = (uint32_t)journal->source_count };
	d2v_name_set_init(&reader->names, options->max_files);
	for (size_t i = 0; i < journal->split_count; i++) {
		struct d2v_reader_resume *resume = &reader->resume[reader->resume_count++];
		snprintf(resume->name, sizeof resume->name, "%s", journal->splits[i].name);
		resume->source = journal->splits[i].now.source;
		resume->member = journal->splits[i].now.member;
		resume->piece = journal->splits[i].now.piece;
	}
	if (!reader->index)
		return D2V_OK;
	char *path;
	D2V_TRY(names_path(reader, reader->index, &path, err));
	d2v_status status = d2v_name_set_load(&reader->names, path, err);
	d2v_free(path);
	return status;
}

void d2v_reader_close(d2v_reader *reader) {
	d2v_piece_reader_free(reader->pieces);
	d2v_origin_close(reader->source);
	d2v_name_set_release(&reader->names);
	reader->source = NULL;
	reader->pieces = NULL;
}

// Pieces of a member that an earlier run has done.
static uint64_t pieces_done(const d2v_reader *reader, const char *split, uint64_t member) {
	for (size_t i = 0; i < reader->resume_count; i++)
		if (strcmp(reader->resume[i].name, split) == 0 && reader->resume[i].source == reader->index &&
			reader->resume[i].member == member)
			return reader->resume[i].piece;
	return 0;
}

static bool was_done(const d2v_reader *reader, const char *split, uint64_t member) {
	for (size_t i = 0; i < reader->resume_count; i++)
		if (strcmp(reader->resume[i].name, split) == 0)
			return reader->index < reader->resume[i].source ||
				   (reader->index == reader->resume[i].source && member < reader->resume[i].member);
	return false;
}

// What the layout makes of the member's path; what is wrong with the member itself goes before.
static void find_place(const d2v_reader *reader, const d2v_member *member, d2v_place *place) {
	d2v_layout_options places = d2v_reader_places(reader->options, reader->index);
	*place = (d2v_place){ .label = D2V_RECORD_NO_LABEL };
	reader->options->layout->place(&places, member->path, place);
	if (member->rejection.reason != D2V_REASON_NONE) {
		place->role = D2V_ROLE_REJECTED;
		place->rejection = member->rejection;
		snprintf(place->name, sizeof place->name, "%s", member->path);
		if (member->rejection.reason == D2V_REASON_UNSAFE_NAME || !d2v_layout_is_split_name(place->split))
			place->split[0] = '\0';
	} else if (place->role == D2V_ROLE_ARCHIVE && member->is_inner) {
		place->role = D2V_ROLE_REJECTED;
		d2v_reject(&place->rejection, D2V_REASON_LAYOUT, "an archive within an archive within the source stays closed");
		snprintf(place->name, sizeof place->name, "%s", member->path);
	}
	if (place->class_name[0] && reader->options->classes)
		place->label = d2v_classes_find(reader->options->classes, place->class_name);
}

// Names must fit a record, and come once.
static d2v_status check_name(d2v_reader *reader, const d2v_member *member, d2v_place *place, d2v_error *err) {
	bool added = true;
	if (place->role == D2V_ROLE_SAMPLE && strlen(place->name) > D2V_RECORD_NAME_MAX) {
		place->role = D2V_ROLE_REJECTED;
		d2v_reject(&place->rejection, D2V_REASON_UNSAFE_NAME, "a name of %zu bytes; a record's has at most %d",
			strlen(place->name), D2V_RECORD_NAME_MAX);
	}
	if (place->role == D2V_ROLE_SAMPLE || place->role == D2V_ROLE_PIECES)
		D2V_TRY(d2v_name_set_add(&reader->names, place->split, place->name, &added, err));
	if (added)
		return D2V_OK;
	place->role = D2V_ROLE_REJECTED;
	d2v_reject(&place->rejection, D2V_REASON_DUPLICATE, "a %s of this name was met before: %s",
		reader->options->layout->decoder->record, member->path);
	return D2V_OK;
}

// What the member is. *wanted false: nothing to be done with it.
static d2v_status judge(d2v_reader *reader, const d2v_member *member, d2v_item *item, bool *wanted, d2v_error *err) {
	d2v_place *place = &item->place;
	*wanted = false;
	item->in_pieces = false;
	item->source = reader->index;
	item->member = member->index;
	if (!member->is_file)
		return D2V_OK;
	find_place(reader, member, place);
	if (place->role == D2V_ROLE_ARCHIVE)
		return d2v_origin_enter(reader->source, err);
	if (place->role == D2V_ROLE_IGNORED) {
		reader->ignored++;
		return D2V_OK;
	}
	D2V_TRY(check_name(reader, member, place, err));
	item->skipped = was_done(reader, place->split, member->index);
	*wanted = !item->skipped || place->role == D2V_ROLE_TEXT;
	return D2V_OK;
}

static d2v_status read_bytes(d2v_reader *reader, uint64_t ticket, d2v_budget *budget, d2v_item *item, uint64_t max,
	unsigned char **bytes, size_t *capacity, size_t *size, d2v_error *err) {
	uint64_t stated = d2v_origin_stated_size(reader->source), need = stated ? stated : max;
	if (need <= max) { // a larger one is rejected before it is read
		if (!d2v_budget_reserve(budget, ticket, need))
			return D2V_END;
		item->reserved = need;
	}
	D2V_TRY(d2v_origin_read(reader->source, max, bytes, capacity, size, &item->place.rejection, err));
	uint64_t keep = item->place.rejection.reason == D2V_REASON_NONE ? *size : 0;
	if (keep < item->reserved) {
		d2v_budget_release(budget, item->reserved - keep);
		item->reserved = keep;
	}
	return D2V_OK;
}

static d2v_status end_source(d2v_reader *reader, d2v_item *item, d2v_error *err) {
	char *path;
	D2V_TRY(d2v_origin_finish(reader->source, item->checksum, &item->bytes, err));
	d2v_origin_close(reader->source);
	reader->source = NULL;
	item->kind = D2V_ITEM_SOURCE_END;
	item->source = reader->index++;
	if (!reader->state)
		return D2V_OK;
	D2V_TRY(names_path(reader, reader->index, &path, err));
	d2v_status status = d2v_name_set_save(&reader->names, path, err);
	d2v_free(path);
	return status;
}

static d2v_status read_item(d2v_reader *reader, uint64_t ticket, d2v_budget *budget, d2v_item *item,
	unsigned char **bytes, size_t *capacity, size_t *size, d2v_error *err) {
	switch (item->place.role) {
	case D2V_ROLE_SAMPLE:
		item->kind = D2V_ITEM_SAMPLE;
		D2V_TRY(read_bytes(reader, ticket, budget, item, reader->options->max_member, bytes, capacity, size, err));
		break;
	case D2V_ROLE_TEXT:
		item->kind = D2V_ITEM_TEXT;
		D2V_TRY(read_bytes(reader, ticket, budget, item, D2V_READER_TEXT_MAX, &item->payload, &item->payload_capacity,
			&item->payload_size, err));
		if (item->place.rejection.reason == D2V_REASON_TOO_LARGE)
			d2v_reject(&item->place.rejection, D2V_REASON_TOO_LARGE, "a text may have %llu bytes",
				(unsigned long long)D2V_READER_TEXT_MAX);
		return D2V_OK;
	default:
		break;
	}
	if (item->place.rejection.reason != D2V_REASON_NONE)
		item->kind = D2V_ITEM_REJECTED;
	return D2V_OK;
}

static d2v_status begin_pieces(d2v_reader *reader, const d2v_item *item, d2v_error *err) {
	if (!reader->pieces)
		D2V_TRY(d2v_piece_reader_new(&reader->pieces, err));
	reader->in_pieces = true;
	reader->place = item->place;
	reader->member = item->member;
	reader->piece = 0;
	d2v_piece_reader_start(reader->pieces, reader->source, reader->place.name,
		reader->place.json_lines ? reader->options->places.field : NULL);
	return D2V_OK;
}

// The next piece that no earlier run has done. D2V_END: the member has no more.
static d2v_status read_piece(d2v_reader *reader, d2v_item *item, unsigned char **bytes, size_t *capacity,
	d2v_rejection *rejection, d2v_error *err) {
	uint64_t done = pieces_done(reader, reader->place.split, reader->member);
	do {
		*rejection = (d2v_rejection){ 0 };
		item->piece_number = reader->piece++;
		D2V_TRY(d2v_piece_reader_next(reader->pieces, bytes, capacity, &item->piece, rejection, err));
	} while (item->piece_number < done);
	return D2V_OK;
}

static void fill_piece(const d2v_reader *reader, d2v_item *item, const d2v_rejection *rejection) {
	item->kind = D2V_ITEM_SAMPLE;
	item->source = reader->index;
	item->member = reader->member;
	item->place = reader->place;
	item->skipped = false;
	item->in_pieces = true;
	item->ignored = reader->ignored;
	d2v_origin_progress(reader->source, &item->done, &item->total);
	if (rejection->reason == D2V_REASON_NONE)
		return;
	item->kind = D2V_ITEM_REJECTED;
	item->place.rejection = *rejection;
	size_t length = strlen(item->place.name);
	if (item->piece.line)
		snprintf(
			item->place.name + length, sizeof item->place.name - length, ":%llu", (unsigned long long)item->piece.line);
}

// *taken: there was one.
static d2v_status take_piece(d2v_reader *reader, uint64_t ticket, d2v_budget *budget, d2v_item *item,
	unsigned char **bytes, size_t *capacity, size_t *size, bool *taken, d2v_error *err) {
	uint64_t need = 3 * D2V_CUTTER_PIECE; // the text, and at worst a token for each byte
	d2v_rejection rejection;
	*taken = false;
	if (!d2v_budget_reserve(budget, ticket, need))
		return D2V_END;
	d2v_status status = read_piece(reader, item, bytes, capacity, &rejection, err);
	*taken = status == D2V_OK;
	if (*taken)
		fill_piece(reader, item, &rejection);
	reader->in_pieces = *taken;
	item->reserved = *taken && item->kind == D2V_ITEM_SAMPLE ? need : 0;
	d2v_budget_release(budget, need - item->reserved);
	*size = *taken ? item->piece.size : 0;
	return status == D2V_END ? D2V_OK : status;
}

static d2v_status check_asked(d2v_error *err) {
	if (!d2v_signals_asked())
		return D2V_OK;
	return d2v_fail(err, D2V_INTERRUPTED, "interrupted; what was published is kept: run the same command to go on");
}

d2v_status d2v_reader_next(d2v_reader *reader, uint64_t ticket, d2v_budget *budget, d2v_item *item,
	unsigned char **bytes, size_t *capacity, size_t *size, d2v_error *err) {
	d2v_member member;
	bool wanted = false;
	*size = 0;
	if (!reader->source && reader->index == reader->options->source_count)
		return D2V_END;
	if (!reader->source)
		D2V_TRY(d2v_reader_open_source(reader->options, reader->index, &reader->source, err));
	while (!wanted) {
		D2V_TRY(check_asked(err));
		if (reader->in_pieces) {
			D2V_TRY(take_piece(reader, ticket, budget, item, bytes, capacity, size, &wanted, err));
			if (wanted)
				return D2V_OK;
		}
		d2v_status status = d2v_origin_next(reader->source, &member, err);
		d2v_origin_progress(reader->source, &item->done, &item->total);
		if (status == D2V_END) {
			item->ignored = reader->ignored;
			return end_source(reader, item, err);
		}
		D2V_TRY(status);
		if (member.index >= reader->options->max_files)
			return d2v_fail(err, D2V_UNSAFE, "more than %llu members; give the sources in parts, or raise --max-files",
				(unsigned long long)reader->options->max_files);
		D2V_TRY(judge(reader, &member, item, &wanted, err));
		if (wanted && item->place.role == D2V_ROLE_PIECES) {
			D2V_TRY(begin_pieces(reader, item, err));
			wanted = false;
		}
	}
	item->ignored = reader->ignored;
	return read_item(reader, ticket, budget, item, bytes, capacity, size, err);
}
