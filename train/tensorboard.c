#include "train/tensorboard.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define EVENT_BYTES 8192
#define NAME_PREFIX "events.out.tfevents."

struct d2v_tensorboard {
	FILE *file;
	char *path;
};

// ---- checksums

uint32_t d2v_tensorboard_crc32c(const void *bytes, size_t size) {
	const unsigned char *at = bytes;
	uint32_t crc = 0xFFFFFFFFu;
	for (size_t i = 0; i < size; i++) { // bit by bit: a few hundred bytes a second
		crc ^= at[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82F63B78u & (0u - (crc & 1u)));
	}
	return ~crc;
}

uint32_t d2v_tensorboard_masked_crc(const void *bytes, size_t size) {
	uint32_t crc = d2v_tensorboard_crc32c(bytes, size);
	return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

// ---- protobuf

// A message being built; too much for its buffer is noticed at the end.
typedef struct message {
	unsigned char bytes[EVENT_BYTES];
	size_t size;
	bool overflowed;
} message;

static void put(message *to, const void *bytes, size_t size) {
	if (size > sizeof to->bytes - to->size) {
		to->overflowed = true;
		return;
	}
	memcpy(to->bytes + to->size, bytes, size);
	to->size += size;
}

static void put_varint(message *to, uint64_t value) {
	for (; value >= 0x80; value >>= 7)
		put(to, &(unsigned char){ (unsigned char)(value | 0x80) }, 1);
	put(to, &(unsigned char){ (unsigned char)value }, 1);
}

static void put_little_endian(message *to, uint64_t value, int size) {
	for (int i = 0; i < size; i++)
		put(to, &(unsigned char){ (unsigned char)(value >> (8 * i)) }, 1);
}

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_key(message *to, unsigned field, enum wire wire) {
	put_varint(to, field << 3 | (unsigned)wire);
}

static void put_double(message *to, unsigned field, double value) {
	uint64_t bits;
	memcpy(&bits, &value, sizeof bits);
	put_key(to, field, WIRE_64);
	put_little_endian(to, bits, 8);
}

static void put_float(message *to, unsigned field, float value) {
	uint32_t bits;
	memcpy(&bits, &value, sizeof bits);
	put_key(to, field, WIRE_32);
	put_little_endian(to, bits, 4);
}

static void put_bytes(message *to, unsigned field, const void *bytes, size_t size) {
	put_key(to, field, WIRE_BYTES);
	put_varint(to, size);
	put(to, bytes, size);
}

// Event: wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7.
static void begin_event(message *event, uint64_t update) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	event->size = 0;
	event->overflowed = false;
	put_double(event, 1, (double)now.tv_sec + (double)now.tv_nsec * 1e-9);
	put_key(event, 2, WIRE_VARINT);
	put_varint(event, update);
}

// A record: u64 length, its checksum, the bytes, their checksum.
static d2v_status write_event(d2v_tensorboard *board, const message *event, d2v_error *err) {
	if (event->overflowed)
		return d2v_fail(err, D2V_INVALID, "%s: an event does not fit %d bytes", board->path, EVENT_BYTES);
	message frame = { .size = 0 };
	put_little_endian(&frame, event->size, 8);
	put_little_endian(&frame, d2v_tensorboard_masked_crc(frame.bytes, 8), 4);
	bool good = fwrite(frame.bytes, 1, frame.size, board->file) == frame.size &&
				fwrite(event->bytes, 1, event->size, board->file) == event->size;
	frame.size = 0;
	put_little_endian(&frame, d2v_tensorboard_masked_crc(event->bytes, event->size), 4);
	good = good && fwrite(frame.bytes, 1, frame.size, board->file) == frame.size && fflush(board->file) == 0;
	return good ? D2V_OK : d2v_fail_errno(err, "%s: cannot be written", board->path);
}

// ---- files

// TensorBoard reads a folder's files in the order of their names, so numbers have a fixed width.
static d2v_status next_path(char **path, const char *folder, d2v_error *err) {
	char **names;
	size_t count;
	unsigned long long next = 0;
	D2V_TRY(d2v_file_list(folder, &names, &count, err));
	for (size_t i = 0; i < count; i++) {
		unsigned long long number;
		if (sscanf(names[i], NAME_PREFIX "%10llu.d2v", &number) == 1 && number >= next)
			next = number + 1;
	}
	d2v_file_names_free(names, count);
	return d2v_asprintf(path, err, "%s/" NAME_PREFIX "%010llu.d2v", folder, next);
}

static d2v_status write_opening(d2v_tensorboard *board, uint64_t updates_done, d2v_error *err) {
	static const char version[] = "brain.Event:2";
	message event;
	begin_event(&event, 0);
	put_bytes(&event, 3, version, sizeof version - 1);
	D2V_TRY(write_event(board, &event, err));
	// SessionLog { status = START }: everything older files have from this step on is out of date.
	begin_event(&event, updates_done + 1);
	put_bytes(&event, 7, "\x08\x01", 2);
	return write_event(board, &event, err);
}

d2v_status d2v_tensorboard_open(d2v_tensorboard **board, const char *folder, uint64_t updates_done, d2v_error *err) {
	d2v_tensorboard *made = NULL;
	*board = NULL;
	D2V_TRY(d2v_file_make_directories(folder, err));
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	d2v_status status = next_path(&made->path, folder, err);
	if (status == D2V_OK) {
		made->file = fopen(made->path, "wbxe");
		if (!made->file)
			status = d2v_fail_errno(err, "%s: cannot be made", made->path);
	}
	if (status == D2V_OK)
		status = write_opening(made, updates_done, err);
	if (status != D2V_OK) {
		d2v_tensorboard_close(made);
		return status;
	}
	*board = made;
	return D2V_OK;
}

void d2v_tensorboard_close(d2v_tensorboard *board) {
	if (!board)
		return;
	if (board->file)
		fclose(board->file);
	d2v_free(board->path);
	d2v_free(board);
}

// Summary: repeated value = 1 { tag = 1, simple_value = 2 }.
d2v_status d2v_tensorboard_add(
	d2v_tensorboard *board, uint64_t update, const d2v_tensorboard_scalar *scalars, int count, d2v_error *err) {
	message summary = { .size = 0 }, value, event;
	for (int i = 0; i < count; i++) {
		value.size = 0;
		value.overflowed = false;
		put_bytes(&value, 1, scalars[i].tag, strlen(scalars[i].tag));
		put_float(&value, 2, (float)scalars[i].value);
		put_bytes(&summary, 1, value.bytes, value.size);
		summary.overflowed |= value.overflowed;
	}
	begin_event(&event, update);
	put_bytes(&event, 5, summary.bytes, summary.size);
	event.overflowed |= summary.overflowed;
	return write_event(board, &event, err);
}
