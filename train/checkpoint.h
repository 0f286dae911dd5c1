// Checkpoints: all that a run is, in one safetensors file, so that going on gives the bytes of the run that never
// stopped.
//
// checkpoint_last.safetensors is the newest, checkpoint_<update>.safetensors are kept ones. Tensors: the weights under
// fairseq's names, the teacher under `_ema.` + fairseq's teacher names, Adam's moments under `optimizer.m.` and
// `optimizer.v.`, `optimizer.steps` (I64, one counter per parameter in model order). Metadata: `d2v.config` (the text
// handed in), `d2v.state` (JSON: updates, place in the data, digest of all batches consumed, compute threads, collapse
// watch) and `d2v.digest`, XXH3 over all of it. `d2v.version` is 1, and 2 for joint runs, whose state has one place and
// one collapse watch for each data set, and 3 where gradients are scaled, whose state has that scale, of joint runs or
// others. No times, no names of hosts or folders: equal runs give equal bytes.
// Written aside, synced, renamed: a kill or a full disk leaves the previous file as it was. One thread.
#ifndef D2V_TRAIN_CHECKPOINT_H
#define D2V_TRAIN_CHECKPOINT_H

#include "base/json.h"
#include "loaders/source.h"
#include "train/collapse.h"
#include "train/loss_scale.h"
#include "train/model.h"
#include "train/optimizer.h"

// Where the loop stands after `updates` updates.
typedef struct d2v_loop_state {
	uint64_t updates;
	uint64_t batches, samples;               // consumed so far
	uint64_t audio_samples;                  // of them, cropped
	uint64_t batch_digest;                   // d2v_hash64_chain over the digests of all batches consumed
	d2v_source_position position;            // of the source
	int threads;                             // compute threads the run was done with
	d2v_loss_scale loss_scale;               // scale 0: gradients are not scaled
	d2v_collapse collapse[D2V_MODALITY_END]; // [0] of a run on one modality, [modality] of a joint one
} d2v_loop_state;

// Published as d2v_file_replace does. D2V_NO_SPACE when the disk is full.
d2v_status d2v_checkpoint_save(const char *path, d2v_model *model, d2v_optimizer *optimizer,
	const d2v_loop_state *state, const char *config, d2v_error *err);

typedef struct d2v_checkpoint d2v_checkpoint;
// Checks structure and digest. D2V_CORRUPT when damaged; D2V_INVALID for safetensors files that are no checkpoint of
// ours.
d2v_status d2v_checkpoint_open(d2v_checkpoint **checkpoint, const char *path, d2v_error *err);
void d2v_checkpoint_close(d2v_checkpoint *checkpoint); // NULL is allowed
const char *d2v_checkpoint_path(const d2v_checkpoint *checkpoint);
const d2v_loop_state *d2v_checkpoint_state(const d2v_checkpoint *checkpoint);
const char *d2v_checkpoint_config(const d2v_checkpoint *checkpoint);
// Puts weights, teacher and (unless NULL) the optimizer's state in place. Names the tensor that is missing or of
// another shape.
d2v_status d2v_checkpoint_load(
	const d2v_checkpoint *checkpoint, d2v_model *model, d2v_optimizer *optimizer, d2v_error *err);

// "FOLDER/checkpoint_last.safetensors" (updates UINT64_MAX) or "FOLDER/checkpoint_<updates>.safetensors". d2v_free.
#define D2V_CHECKPOINT_LAST UINT64_MAX
d2v_status d2v_checkpoint_name(char **path, const char *folder, uint64_t updates, d2v_error *err);
// What a run in this folder goes on from: checkpoint_last, or when that is damaged or gone the newest intact kept one
// (said with a warning). *checkpoint is NULL when the folder has none; when all are damaged D2V_CORRUPT.
d2v_status d2v_checkpoint_find(d2v_checkpoint **checkpoint, const char *folder, d2v_error *err);
// Removes all but the newest `keep` kept ones (negative: removes none), checkpoint_last aside.
d2v_status d2v_checkpoint_prune(const char *folder, int64_t keep, d2v_error *err);

#endif
