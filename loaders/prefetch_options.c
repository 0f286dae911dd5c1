#include "loaders/prefetch_options.h"

#define THREADS_MAX 256
#define SLOTS_MAX 1024

d2v_status d2v_prefetch_options_check(d2v_prefetch_options *o, d2v_error *err) {
	o->world_size = o->world_size ? o->world_size : 1;
	o->threads = o->threads ? o->threads : 1;
	o->slots = o->slots ? o->slots : o->threads + D2V_PREFETCH_OUT + 1;
	if (o->threads < 1 || o->threads > THREADS_MAX || o->slots < D2V_PREFETCH_OUT + 1 || o->slots > SLOTS_MAX)
		return d2v_fail(err, D2V_INVALID, "%d loader threads and %d slots; 1 to %d and %d to %d are possible",
			o->threads, o->slots, THREADS_MAX, D2V_PREFETCH_OUT + 1, SLOTS_MAX);
	if (!(o->max_damaged_share >= 0 && o->max_damaged_share <= 1))
		return d2v_fail(err, D2V_INVALID, "a share of %g damaged records; it must lie in [0, 1]", o->max_damaged_share);
	return D2V_OK;
}
