// TensorBoard's event files: scalars over updates, written without TensorFlow.
//
// A file is a TFRecord stream of Event messages (protobuf, encoded by hand: a handful of fields). Every open starts a
// new file, named so that TensorBoard reads it after the older ones, and says at which update the run goes on: what
// older files have from there on is dropped by TensorBoard, so a resumed run shows no update twice. Event files hold
// wall-clock times and are the only output that differs between two equal runs, with metrics.jsonl. One thread.
#ifndef D2V_TRAIN_TENSORBOARD_H
#define D2V_TRAIN_TENSORBOARD_H

#include "base/error.h"

#include <stdint.h>

typedef struct d2v_tensorboard d2v_tensorboard;

// Makes the folder when it is missing.
d2v_status d2v_tensorboard_open(d2v_tensorboard **board, const char *folder, uint64_t updates_done, d2v_error *err);
void d2v_tensorboard_close(d2v_tensorboard *board); // NULL is allowed

typedef struct d2v_tensorboard_scalar {
	const char *tag; // "train/loss"
	double value;
} d2v_tensorboard_scalar;
// One event with all of them; flushed, so that a kill loses nothing that was written.
d2v_status d2v_tensorboard_add(
	d2v_tensorboard *board, uint64_t update, const d2v_tensorboard_scalar *scalars, int count, d2v_error *err);

// The checksum of the framing: CRC-32C (Castagnoli), then rotated and offset as TFRecord wants it. For tests.
uint32_t d2v_tensorboard_crc32c(const void *bytes, size_t size);
uint32_t d2v_tensorboard_masked_crc(const void *bytes, size_t size);

#endif
