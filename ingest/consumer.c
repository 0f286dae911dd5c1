#include "ingest/consumer.h"

#include "base/file.h"
#include "base/memory.h"
#include "ingest/decoder.h"
#include "ingest/reader.h"

#include <stdio.h>
#include <string.h>

#define WAITING_MAX ((uint64_t)56 << 20)
#define OPEN_SHARDS_MAX 8 // each holds up to 4 MiB that LMDB has not written yet

d2v_status d2v_consumer_open(d2v_consumer *consumer, const d2v_ingest_options *options, const char *state,
	d2v_journal *journal, d2v_budget *budget, d2v_ingest_result *result, d2v_error *err) {
	*consumer = (d2v_consumer){ .options = options,
		.state = state,
		.journal = journal,
		.budget = budget,
		.result = result,
		.started = d2v_clock() };
	D2V_TRY(d2v_alloc_zero(&consumer->outlets, D2V_JOURNAL_SPLITS_MAX, sizeof *consumer->outlets, err));
	D2V_TRY(d2v_texts_new(&consumer->texts, options->layout, err));
	D2V_TRY(d2v_progress_new(&consumer->progress, options->quiet, err));
	while (consumer->outlet_count < journal->split_count) {
		size_t index = consumer->outlet_count++; // close lets go what a failure leaves of it
		D2V_TRY(d2v_outlet_open(
			&consumer->outlets[index], options->out, &journal->splits[index], options->shard_size, err));
	}
	return D2V_OK;
}

void d2v_consumer_close(d2v_consumer *consumer) {
	for (size_t i = 0; i < consumer->outlet_count; i++)
		d2v_outlet_close(&consumer->outlets[i]);
	d2v_free(consumer->outlets);
	d2v_texts_free(consumer->texts);
	d2v_progress_free(consumer->progress);
	*consumer = (d2v_consumer){ 0 };
}

static d2v_status save_journal(d2v_consumer *consumer, d2v_error *err) {
	char *path;
	D2V_TRY(d2v_path_join(&path, consumer->state, "journal.json", err));
	d2v_status status = d2v_journal_save(consumer->journal, path, err);
	d2v_free(path);
	return status;
}

static d2v_status outlet_of(d2v_consumer *consumer, const char *split, d2v_outlet **outlet, d2v_error *err) {
	d2v_journal_split *entry;
	D2V_TRY(d2v_journal_split_of(consumer->journal, split, &entry, err));
	size_t index = (size_t)(entry - consumer->journal->splits);
	if (index == consumer->outlet_count) {
		consumer->outlet_count++;
		D2V_TRY(d2v_outlet_open(
			&consumer->outlets[index], consumer->options->out, entry, consumer->options->shard_size, err));
	}
	*outlet = &consumer->outlets[index];
	return D2V_OK;
}

static uint64_t rejected_so_far(const d2v_consumer *consumer) {
	uint64_t rejected = 0;
	for (size_t i = 0; i < consumer->outlet_count; i++)
		rejected += consumer->outlets[i].point.rejected;
	return rejected;
}

static void note_rejected(d2v_consumer *consumer, const d2v_item *item) {
	const d2v_place *place = &item->place;
	char escaped[D2V_CONSUMER_REJECTED / 2];
	const char *name =
		place->rejection.name_is_escaped ? place->name : d2v_rejection_escape(place->name, escaped, sizeof escaped);
	snprintf(consumer->last_rejected, sizeof consumer->last_rejected, "%.255s: %s", name, place->rejection.text);
}

// files: of which the rejected are so many percent; 0 when that is not known yet. where: the lists are.
static d2v_status check_rejected(const d2v_consumer *consumer, uint64_t files, const char *where, d2v_error *err) {
	const d2v_ingest_options *options = consumer->options;
	double rejected = (double)rejected_so_far(consumer);
	double allowed =
		options->max_rejected_is_percent ? options->max_rejected / 100 * (double)files : options->max_rejected;
	if (rejected <= allowed || (options->max_rejected_is_percent && !files))
		return D2V_OK;
	char of[32] = "";
	if (files)
		snprintf(of, sizeof of, " of %llu", (unsigned long long)files);
	return d2v_fail(err, D2V_CORRUPT,
		"%.0f%s file%s rejected, more than --max-rejected %g%s%s%s; %s/%s lists them all; to accept them run the same "
		"command with a larger --max-rejected, it goes on from here",
		rejected, of, rejected == 1 && !files ? " was" : "s were", options->max_rejected,
		options->max_rejected_is_percent ? "%" : "", consumer->last_rejected[0] ? "; the last one: " : "",
		consumer->last_rejected, options->out, where);
}

static uint64_t expected_files(const d2v_ingest_options *options) {
	uint64_t files = 0;
	for (size_t i = 0; i < options->source_count; i++) {
		if (!options->sources[i].files)
			return 0;
		files += options->sources[i].files;
	}
	return files;
}

static void reuse(d2v_consumer *consumer, d2v_item *item) {
	if (item->reserved)
		d2v_budget_release(consumer->budget, item->reserved);
	item->reserved = 0;
	item->payload_size = 0;
	if (item->payload_capacity > consumer->keep_bytes) {
		d2v_free(item->payload);
		item->payload = NULL;
		item->payload_capacity = 0;
	}
}

// *spare: an item that left and may be reused; there is at most need for one.
static d2v_status drain(d2v_consumer *consumer, d2v_outlet *outlet, d2v_item **spare, d2v_error *err) {
	for (;;) {
		d2v_item *left;
		bool published;
		d2v_status status = d2v_outlet_drain(outlet, consumer->texts, &left, &published, err);
		if (!left)
			return status;
		if (left->kind == D2V_ITEM_SAMPLE) {
			consumer->result->new_records++;
			consumer->result->new_units += left->units;
			consumer->result->new_bytes += left->payload_size;
			consumer->result->new_text_bytes += left->text_bytes;
		}
		consumer->waiting -= left->reserved;
		bool was_rejected = left->kind == D2V_ITEM_REJECTED;
		if (was_rejected)
			note_rejected(consumer, left);
		reuse(consumer, left);
		if (*spare) {
			d2v_free(left->payload);
			d2v_free(left);
		} else
			*spare = left;
		D2V_TRY(status); // an item that left is ours also when the shard it completed could not be published
		if (published)
			D2V_TRY(save_journal(consumer, err));
		if (was_rejected)
			D2V_TRY(check_rejected(consumer, expected_files(consumer->options), ".ingest/*.rejected", err));
	}
}

static d2v_status drain_all(d2v_consumer *consumer, d2v_item **spare, d2v_error *err) {
	for (size_t i = 0; i < consumer->outlet_count; i++)
		D2V_TRY(drain(consumer, &consumer->outlets[i], spare, err));
	return D2V_OK;
}

// The second pass: the texts of a whole source.
static d2v_status read_texts(d2v_consumer *consumer, uint32_t index, d2v_error *err) {
	d2v_layout_options places = d2v_reader_places(consumer->options, index);
	d2v_origin *source;
	d2v_member member;
	unsigned char *bytes = NULL;
	size_t capacity = 0, size;
	D2V_TRY(d2v_reader_open_source(consumer->options, index, &source, err));
	d2v_status status;
	while ((status = d2v_origin_next(source, &member, err)) == D2V_OK) {
		d2v_place place = { 0 };
		if (!member.is_file || member.rejection.reason != D2V_REASON_NONE)
			continue;
		consumer->options->layout->place(&places, member.path, &place);
		if (place.role != D2V_ROLE_TEXT || d2v_texts_has(consumer->texts, member.path))
			continue;
		status = d2v_origin_read(source, D2V_READER_TEXT_MAX, &bytes, &capacity, &size, &place.rejection, err);
		if (status != D2V_OK)
			break;
		status = place.rejection.reason == D2V_REASON_NONE
					 ? d2v_texts_add(consumer->texts, member.path, (char *)bytes, size, &place.rejection, err)
					 : d2v_texts_add_nothing(consumer->texts, member.path, err);
		if (status != D2V_OK)
			break;
	}
	d2v_free(bytes);
	d2v_origin_close(source);
	d2v_texts_complete(consumer->texts);
	return status == D2V_END ? D2V_OK : status;
}

static d2v_status handle_text(d2v_consumer *consumer, d2v_item *item, d2v_error *err) {
	if (item->place.rejection.reason != D2V_REASON_NONE)
		return d2v_texts_add_nothing(consumer->texts, item->place.name, err);
	return d2v_texts_add(
		consumer->texts, item->place.name, (char *)item->payload, item->payload_size, &item->place.rejection, err);
}

static d2v_status end_source(d2v_consumer *consumer, const d2v_item *item, d2v_item **spare, d2v_error *err) {
	char *names;
	d2v_texts_complete(consumer->texts);
	D2V_TRY(drain_all(consumer, spare, err));
	for (size_t i = 0; i < consumer->outlet_count; i++)
		D2V_TRY(d2v_outlet_end_source(&consumer->outlets[i], item->source + 1, err));
	D2V_TRY(d2v_journal_add_source(consumer->journal, item->checksum, item->bytes, err));
	D2V_TRY(save_journal(consumer, err));
	d2v_texts_clear(consumer->texts);
	D2V_TRY(d2v_asprintf(&names, err, "%s/names-%05u", consumer->state, item->source));
	d2v_status status = d2v_file_remove(names, err);
	d2v_free(names);
	return status;
}

static void show(d2v_consumer *consumer, const d2v_item *item) {
	char files[D2V_PROGRESS_TEXT], have[D2V_PROGRESS_TEXT], pace[128];
	double seconds = d2v_clock() - consumer->started;
	consumer->options->layout->decoder->tell(consumer->options, consumer->result, seconds, pace, sizeof pace);
	consumer->done = item->done;
	consumer->total = item->total;
	consumer->result->ignored = item->ignored;
	d2v_progress_update(consumer->progress, (double)item->done, (double)item->total, "files %s  %s  %s  %.0f files/s",
		d2v_progress_count(consumer->result->new_records, files), pace, d2v_progress_bytes((double)item->done, have),
		seconds > 0 ? (double)consumer->result->new_records / seconds : 0);
}

static d2v_status check_open_shards(const d2v_consumer *consumer, d2v_error *err) {
	size_t open = 0;
	for (size_t i = 0; i < consumer->outlet_count; i++)
		open += consumer->outlets[i].writer != NULL;
	if (open > OPEN_SHARDS_MAX)
		return d2v_fail(err, D2V_UNSAFE,
			"more than %d splits in one source; its folders are not those that d2v-ingest %s expects, or give it in "
			"parts",
			OPEN_SHARDS_MAX, consumer->options->layout->name);
	return D2V_OK;
}

static void drop(d2v_item *item) {
	if (item)
		d2v_free(item->payload);
	d2v_free(item);
}

// The item goes to its outlet (then *inout is NULL) or is free for reuse.
static d2v_status sort_in(d2v_consumer *consumer, d2v_item **inout, d2v_outlet **outlet, d2v_error *err) {
	d2v_item *item = *inout;
	D2V_TRY(outlet_of(consumer, item->place.split, outlet, err));
	if (item->kind == D2V_ITEM_TEXT) {
		D2V_TRY(handle_text(consumer, item, err));
		reuse(consumer, item);
		if (item->place.rejection.reason == D2V_REASON_NONE || item->skipped)
			return D2V_OK;
		item->kind = D2V_ITEM_REJECTED;
	}
	D2V_TRY(d2v_outlet_put(*outlet, item, err));
	consumer->waiting += item->reserved;
	*inout = NULL;
	return D2V_OK;
}

static d2v_status handle_member(d2v_consumer *consumer, d2v_item **inout, d2v_item **spare, d2v_error *err) {
	d2v_outlet *outlet;
	uint32_t source = (*inout)->source;
	D2V_TRY(sort_in(consumer, inout, &outlet, err));
	D2V_TRY(drain(consumer, outlet, spare, err));
	D2V_TRY(check_open_shards(consumer, err));
	if (consumer->waiting <= WAITING_MAX || d2v_texts_is_complete(consumer->texts))
		return D2V_OK;
	D2V_TRY(read_texts(consumer, source, err));
	return drain_all(consumer, spare, err);
}

d2v_status d2v_consumer_handle(d2v_consumer *consumer, d2v_item **inout, d2v_error *err) {
	d2v_item *item = *inout, *spare = NULL;
	show(consumer, item);
	if (item->kind == D2V_ITEM_FAILED) {
		*err = item->err;
		// A source that is not what it should be: what came of it must not be gone on from.
		if (item->status == D2V_CORRUPT)
			D2V_TRY(d2v_consumer_disown_source(consumer, err));
		return item->status;
	}
	d2v_status status = item->kind == D2V_ITEM_SOURCE_END ? end_source(consumer, item, &spare, err)
														  : handle_member(consumer, inout, &spare, err);
	if (!*inout) {
		*inout = spare;
		spare = NULL;
	}
	drop(spare);
	return status == D2V_OK && !*inout ? d2v_alloc_zero(inout, 1, sizeof **inout, err) : status;
}

static d2v_status publish_logs(d2v_consumer *consumer, d2v_error *err) {
	for (size_t i = 0; i < consumer->outlet_count; i++)
		D2V_TRY(d2v_outlet_publish_log(&consumer->outlets[i], err));
	return D2V_OK;
}

d2v_status d2v_consumer_finish(d2v_consumer *consumer, d2v_error *err) {
	d2v_progress_finish(consumer->progress);
	uint64_t files = rejected_so_far(consumer);
	bool text = consumer->options->layout->decoder->modality == D2V_TEXT; // whose records are no files
	for (size_t i = 0; i < consumer->journal->split_count; i++) {
		const d2v_journal_split *split = &consumer->journal->splits[i];
		if (text)
			files += split->now.documents + split->now.empty;
		for (uint64_t k = 0; !text && k < split->now.shards; k++)
			files += split->shards[k].records;
	}
	D2V_TRY(publish_logs(consumer, err));
	return check_rejected(consumer, files, "*/rejected.tsv", err);
}

d2v_status d2v_consumer_disown_source(d2v_consumer *consumer, d2v_error *err) {
	for (size_t i = 0; i < consumer->journal->split_count; i++)
		consumer->journal->splits[i].now = consumer->journal->splits[i].base;
	return save_journal(consumer, err);
}
