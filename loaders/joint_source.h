// Several sources as one: every update takes its batches from one of them, for training on several data sets together.
//
// An epoch is a number of updates, dealt to the sources by their shares: u_i of them to source i. Without shares u_i is
// what source i needs for one epoch of its own, so that data sets count by their numbers of batches, as in the
// original. With shares the sum stays the same but for rounding, and is divided by them. Which source an update takes
// is a keyed permutation of those updates, computed on the fly, so a position is that of this sequence plus one for
// each source.
// The sources go through their own epochs at their own pace; none of their batches is left out.
//
// A batch is its source's, with index and epoch of the joint stream. Two batches may be out at a time, of any sources.
// Threads: one thread calls.
#ifndef D2V_LOADERS_JOINT_SOURCE_H
#define D2V_LOADERS_JOINT_SOURCE_H

#include "loaders/source.h"

typedef struct d2v_joint_options {
	d2v_source *sources[D2V_SOURCE_PARTS]; // each with the same ranks and imitated workers as below
	double shares[D2V_SOURCE_PARTS];       // relative to each other; all 0: by batches
	int count;                             // of sources, at least 1
	uint64_t seed;
	uint32_t imitated_world_size; // workers of the run being imitated; 0: world_size
	uint32_t update_freq;         // batches of each of them in an update; 0: 1
	uint32_t world_size, rank;    // world_size 0: 1
} d2v_joint_options;

// Takes over the sources when it succeeds: closing the joint source closes them. D2V_INVALID for a source without
// epochs and for shares that are no shares.
d2v_status d2v_joint_source_open(d2v_source **source, const d2v_joint_options *options, d2v_error *err);

#endif
