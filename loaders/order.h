// The order of an epoch: which item (a batch, a picture, a block of text) a rank gets at which of its turns.
//
// Item number = keyed permutation of a place, computed on the fly: no list in memory, any rank can compute any place,
// and going to the middle of an epoch costs nothing. Places are dealt in updates of `imitated` places (the workers of
// the run being imitated; 0: as many as there are ranks). Within an update rank r of R takes the places r, R + r, 2R +
// r, ...; so an update takes `rounds` turns of every rank, all ranks have equally many turns, and what lies behind the
// last item is D2V_ORDER_NONE, an empty batch. The items of an update are the same for any number of ranks. Threads:
// plain functions on plain values.
#ifndef D2V_LOADERS_ORDER_H
#define D2V_LOADERS_ORDER_H

#include "base/error.h"
#include "base/random.h"

#define D2V_ORDER_NONE UINT64_MAX

typedef struct d2v_order {
	uint64_t seed;
	d2v_random_purpose purpose; // D2V_RANDOM_BATCHES, D2V_RANDOM_ORDER
	uint64_t count;             // items in an epoch, at least 1
	uint32_t ranks, rank;       // this process is `rank` of `ranks`
	uint32_t imitated;          // places of an update; 0: ranks
	bool sequential;            // no permutation: items in order of their numbers, every epoch alike
} d2v_order;

d2v_status d2v_order_check(const d2v_order *order, d2v_error *err); // D2V_INVALID
uint64_t d2v_order_rounds(const d2v_order *order);                  // turns of a rank in an update
uint64_t d2v_order_turns(const d2v_order *order);                   // turns of a rank in an epoch
// The item of this rank's turn (counted from 0 in each epoch), or D2V_ORDER_NONE.
uint64_t d2v_order_item(const d2v_order *order, uint64_t epoch, uint64_t turn);
// Places dealt to all ranks after `turn` turns of each, and back. turn_of fails (D2V_INVALID) when that many places are
// not a whole number of turns of this many ranks.
uint64_t d2v_order_dealt(const d2v_order *order, uint64_t turn);
d2v_status d2v_order_turn_of(const d2v_order *order, uint64_t dealt, uint64_t *turn, d2v_error *err);

#endif
