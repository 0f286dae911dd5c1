#include "shards/shard_reader_internal.h"

#include <endian.h>
#include <string.h>

static void walk_records(d2v_shard_view *view, MDB_cursor *cursor,
	void (*found)(void *context, uint64_t record, const char *what), void *context) {
	d2v_shard *shard = view->shard;
	MDB_val key, value;
	uint64_t expected = 0, records = d2v_shard_records(shard);
	int code;
	while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		uint64_t big_endian = htobe64(expected);
		d2v_shard_page head;
		if (expected >= records || key.mv_size != sizeof big_endian ||
			memcmp(key.mv_data, &big_endian, sizeof big_endian) != 0)
			break;
		size_t room = (size_t)shard->trailer.extents[expected].pages * shard->trailer.page_size - sizeof head;
		memcpy(&head, (const unsigned char *)value.mv_data - sizeof head, sizeof head);
		if (value.mv_size > room || head.number != shard->trailer.extents[expected].page)
			found(context, expected, "lies elsewhere than the directory says");
		expected++;
	}
	if (code != MDB_NOTFOUND || expected != records)
		found(context, expected, "the table of records does not hold every record in order");
}

static void walk_names(d2v_shard_view *view, MDB_cursor *cursor,
	void (*found)(void *context, uint64_t record, const char *what), void *context) {
	MDB_val key, value;
	uint64_t count = 0;
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		uint64_t ordinal = UINT64_MAX;
		d2v_record record;
		if (value.mv_size == sizeof ordinal)
			memcpy(&ordinal, value.mv_data, sizeof ordinal);
		ordinal = be64toh(ordinal);
		if (ordinal >= d2v_shard_records(view->shard))
			found(context, UINT64_MAX, "the table of names names a record that is not there");
		else if (d2v_shard_read(view, ordinal, false, &record, NULL) == D2V_OK && // damaged ones are found elsewhere
				 (record.name_size != key.mv_size || memcmp(record.name, key.mv_data, key.mv_size) != 0))
			found(context, ordinal, "the table of names has it under another name");
		count++;
	}
	if (count != d2v_shard_records(view->shard))
		found(context, UINT64_MAX, "the table of names has not one name for each record");
}

d2v_status d2v_shard_check_tables(d2v_shard_view *view, void (*found)(void *context, uint64_t record, const char *what),
	void *context, d2v_error *err) {
	MDB_cursor *cursor;
	if (!view->txn)
		return D2V_OK; // what is damaged is not walked
	int code = mdb_cursor_open(view->txn, view->shard->records, &cursor);
	if (code)
		return d2v_shard_fail_lmdb(view->shard, code, err);
	walk_records(view, cursor, found, context);
	mdb_cursor_close(cursor);
	code = mdb_cursor_open(view->txn, view->shard->names, &cursor);
	if (code)
		return d2v_shard_fail_lmdb(view->shard, code, err);
	walk_names(view, cursor, found, context);
	mdb_cursor_close(cursor);
	return D2V_OK;
}
