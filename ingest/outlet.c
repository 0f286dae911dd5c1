#include "ingest/outlet.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static d2v_status shard_path(const d2v_outlet *outlet, uint64_t shard, char **path, d2v_error *err) {
	return d2v_asprintf(path, err, "%s/%s/%05llu.mdb", outlet->out, outlet->journal->name, (unsigned long long)shard);
}

// A shard that the journal lists must be there; what else is in the folder was left by a kill.
static d2v_status tidy_folder(d2v_outlet *outlet, d2v_error *err) {
	char *folder = NULL, **names = NULL, *path = NULL;
	size_t count = 0;
	uint64_t found = 0;
	d2v_status status = d2v_path_join(&folder, outlet->out, outlet->journal->name, err);
	if (status == D2V_OK)
		status = d2v_file_make_directories(folder, err);
	if (status == D2V_OK)
		status = d2v_file_list(folder, &names, &count, err);
	for (size_t i = 0; status == D2V_OK && i < count; i++) {
		char expected[32];
		snprintf(expected, sizeof expected, "%05llu.mdb", (unsigned long long)found);
		if (found < outlet->journal->now.shards && strcmp(names[i], expected) == 0) {
			found++;
			continue;
		}
		if (!strstr(names[i], ".mdb") && strncmp(names[i], "rejected.tsv", 12) != 0)
			continue; // not ours
		status = d2v_path_join(&path, folder, names[i], err);
		if (status == D2V_OK)
			status = d2v_file_remove(path, err);
		d2v_free(path);
		path = NULL;
	}
	if (status == D2V_OK && found < outlet->journal->now.shards)
		status = d2v_fail(err, D2V_NOT_FOUND, "%s/%05llu.mdb: was published and is gone; remove %s and start anew",
			folder, (unsigned long long)found, outlet->out);
	d2v_file_names_free(names, count);
	d2v_free(folder);
	return status;
}

d2v_status d2v_outlet_open(
	d2v_outlet *outlet, const char *out, d2v_journal_split *journal, uint64_t shard_size, d2v_error *err) {
	char *path;
	*outlet =
		(d2v_outlet){ .out = out, .journal = journal, .point = journal->now, .shard_size = shard_size, .log.fd = -1 };
	if (journal->name[0])
		D2V_TRY(tidy_folder(outlet, err));
	D2V_TRY(d2v_asprintf(&path, err, "%s/.ingest/%s.rejected", out, journal->name));
	d2v_status status =
		d2v_rejected_log_open(&outlet->log, path, journal->now.rejected, journal->now.rejected_bytes, err);
	d2v_free(path);
	return status;
}

void d2v_outlet_close(d2v_outlet *outlet) {
	for (size_t i = outlet->first; i < outlet->end; i++) {
		d2v_free(outlet->waiting[i]->payload);
		d2v_free(outlet->waiting[i]);
	}
	d2v_free(outlet->waiting);
	d2v_shard_writer_abandon(outlet->writer);
	d2v_token_blocks_free(outlet->blocks);
	d2v_rejected_log_close(&outlet->log);
	*outlet = (d2v_outlet){ .log.fd = -1 };
}

d2v_status d2v_outlet_put(d2v_outlet *outlet, d2v_item *item, d2v_error *err) {
	if (outlet->first == outlet->end)
		outlet->first = outlet->end = 0;
	if (outlet->first > outlet->waiting_capacity / 2) {
		memmove(
			outlet->waiting, outlet->waiting + outlet->first, (outlet->end - outlet->first) * sizeof *outlet->waiting);
		outlet->end -= outlet->first;
		outlet->first = 0;
	}
	D2V_TRY(d2v_reserve(&outlet->waiting, &outlet->waiting_capacity, outlet->end + 1, sizeof *outlet->waiting, err));
	outlet->waiting[outlet->end++] = item;
	return D2V_OK;
}

bool d2v_outlet_is_empty(const d2v_outlet *outlet) {
	return outlet->first == outlet->end;
}

static d2v_status publish_shard(d2v_outlet *outlet, d2v_error *err) {
	d2v_shard_facts facts;
	d2v_shard_writer *writer = outlet->writer;
	outlet->writer = NULL;
	D2V_ASSERT(writer);
	// The list first: what the journal will say of it must be on the disk.
	d2v_status status = outlet->blocks ? d2v_token_blocks_flush(outlet->blocks, writer, &outlet->number, err) : D2V_OK;
	if (status == D2V_OK)
		status = d2v_rejected_log_sync(&outlet->log, err);
	json_t *meta = json_pack("{s:s, s:I}", "split", outlet->journal->name, "shard", (json_int_t)outlet->point.shards);
	if (status == D2V_OK && !meta)
		status = d2v_fail(err, D2V_NO_MEMORY, "the meta of a shard: out of memory");
	if (status == D2V_OK)
		status = d2v_shard_writer_commit(writer, meta, &facts, err);
	else
		d2v_shard_writer_abandon(writer);
	json_decref(meta);
	D2V_TRY(status);
	D2V_TRY(d2v_journal_add_shard(outlet->journal, &facts, err));
	outlet->point.shards = outlet->journal->now.shards;
	outlet->journal->now = outlet->point;
	return D2V_OK;
}

static d2v_status begin_shard(d2v_outlet *outlet, d2v_error *err) {
	char *path;
	if (outlet->writer)
		return D2V_OK;
	D2V_TRY(shard_path(outlet, outlet->point.shards, &path, err));
	d2v_status status = d2v_shard_writer_begin(&outlet->writer, path, outlet->shard_size + outlet->shard_size / 8, err);
	d2v_free(path);
	return status;
}

static uint64_t published_records(const d2v_journal_split *split) {
	uint64_t records = 0;
	for (uint64_t i = 0; i < split->now.shards; i++)
		records += split->shards[i].records;
	return records;
}

// A run of tokens, which makes no record of its own.
static d2v_status append_tokens(d2v_outlet *outlet, const d2v_item *item, d2v_error *err) {
	outlet->point.documents += item->documents;
	outlet->point.empty += item->empty;
	outlet->units += item->units;
	if (!item->units)
		return D2V_OK;
	if (!outlet->blocks) {
		D2V_TRY(d2v_token_blocks_new(&outlet->blocks, item->codec, err));
		outlet->number = published_records(outlet->journal);
	}
	D2V_TRY(begin_shard(outlet, err));
	return d2v_token_blocks_add(outlet->blocks, item, outlet->writer, &outlet->number, err);
}

static d2v_status append(d2v_outlet *outlet, const d2v_item *item, const char *text, size_t text_size, d2v_error *err) {
	D2V_TRY(begin_shard(outlet, err));
	d2v_record record = { .codec = (uint8_t)item->codec,
		.label = item->place.label,
		.rate = item->rate,
		.rows = item->rows,
		.units = item->units,
		.name = item->place.name,
		.name_size = (uint32_t)strlen(item->place.name),
		.text = text,
		.text_size = (uint32_t)text_size,
		.payload = item->payload,
		.payload_size = item->payload_size };
	D2V_TRY(d2v_shard_writer_append(outlet->writer, &record, err));
	outlet->records++;
	outlet->units += item->units;
	return D2V_OK;
}

d2v_status d2v_outlet_drain(d2v_outlet *outlet, d2v_texts *texts, d2v_item **left, bool *published, d2v_error *err) {
	*left = NULL;
	*published = false;
	if (d2v_outlet_is_empty(outlet))
		return D2V_OK;
	d2v_item *item = outlet->waiting[outlet->first];
	if (item->kind == D2V_ITEM_REJECTED) {
		D2V_TRY(d2v_rejected_log_add(&outlet->log, item->place.name, &item->place.rejection, err));
		outlet->point.rejected = outlet->log.lines;
		outlet->point.rejected_bytes = outlet->log.bytes;
	} else if (item->codec == D2V_CODEC_TOK16 || item->codec == D2V_CODEC_TOK32) {
		D2V_TRY(append_tokens(outlet, item, err));
	} else {
		const char *text;
		size_t text_size;
		d2v_text_answer answer = d2v_texts_find(texts, item->place.text_path, item->place.name, &text, &text_size);
		if (answer == D2V_TEXT_UNKNOWN)
			return D2V_OK;
		outlet->point.without_text += text_size == 0;
		D2V_TRY(append(outlet, item, text, text_size, err));
		if (answer == D2V_TEXT_FOUND)
			d2v_texts_took(texts, item->place.text_path);
	}
	outlet->first++;
	outlet->point.source = item->source;
	outlet->point.member = item->in_pieces ? item->member : item->member + 1;
	outlet->point.piece = item->in_pieces ? item->piece_number + 1 : 0;
	*left = item;
	if (outlet->writer && d2v_shard_writer_bytes(outlet->writer) >= outlet->shard_size) {
		*published = true;
		return publish_shard(outlet, err);
	}
	return D2V_OK;
}

d2v_status d2v_outlet_end_source(d2v_outlet *outlet, uint32_t next_source, d2v_error *err) {
	D2V_ASSERT(d2v_outlet_is_empty(outlet));
	outlet->point.source = next_source;
	outlet->point.member = outlet->point.piece = 0;
	if (outlet->writer)
		D2V_TRY(publish_shard(outlet, err));
	else
		D2V_TRY(d2v_rejected_log_sync(&outlet->log, err));
	outlet->journal->now = outlet->journal->base = outlet->point;
	return D2V_OK;
}

d2v_status d2v_outlet_publish_log(d2v_outlet *outlet, d2v_error *err) {
	char *path;
	if (!outlet->journal->name[0] && !outlet->log.lines)
		return D2V_OK;
	D2V_TRY(d2v_asprintf(
		&path, err, "%s/%s%srejected.tsv", outlet->out, outlet->journal->name, outlet->journal->name[0] ? "/" : ""));
	d2v_status status = d2v_rejected_log_publish(&outlet->log, path, err);
	d2v_free(path);
	return status;
}
