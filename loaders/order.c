#include "loaders/order.h"

static uint64_t places_of(const d2v_order *order) {
	return order->imitated ? order->imitated : order->ranks;
}

static uint64_t divide_up(uint64_t a, uint64_t b) {
	return a / b + (a % b != 0);
}

d2v_status d2v_order_check(const d2v_order *order, d2v_error *err) {
	if (!order->count)
		return d2v_fail(err, D2V_INVALID, "an epoch without a single batch");
	if (!order->ranks || order->rank >= order->ranks)
		return d2v_fail(err, D2V_INVALID, "rank %u of %u ranks", order->rank, order->ranks);
	return D2V_OK;
}

uint64_t d2v_order_rounds(const d2v_order *order) {
	return divide_up(places_of(order), order->ranks);
}

uint64_t d2v_order_turns(const d2v_order *order) {
	return divide_up(order->count, places_of(order)) * d2v_order_rounds(order);
}

uint64_t d2v_order_item(const d2v_order *order, uint64_t epoch, uint64_t turn) {
	uint64_t rounds = d2v_order_rounds(order), update = turn / rounds, round = turn % rounds;
	uint64_t within = round * order->ranks + order->rank;
	uint64_t place = update * places_of(order) + within;
	if (within >= places_of(order) || place >= order->count)
		return D2V_ORDER_NONE;
	if (order->sequential)
		return place;
	return d2v_random_permute(d2v_random_key_make(order->seed, order->purpose, epoch, 0), order->count, place);
}

uint64_t d2v_order_dealt(const d2v_order *order, uint64_t turn) {
	uint64_t rounds = d2v_order_rounds(order);
	return turn / rounds * places_of(order) + turn % rounds * order->ranks;
}

d2v_status d2v_order_turn_of(const d2v_order *order, uint64_t dealt, uint64_t *turn, d2v_error *err) {
	uint64_t places = places_of(order), rest = dealt % places;
	if (dealt >= order->count && dealt - order->count < UINT32_MAX) {
		*turn = d2v_order_turns(order); // the end of the epoch, whoever went through it
		return D2V_OK;
	}
	if (dealt >= order->count || rest % order->ranks)
		return d2v_fail(err, D2V_INVALID,
			"the data stands after batch %llu of the epoch (of %llu), which %u ranks do not reach together; go on with "
			"the "
			"number of ranks it was saved with",
			(unsigned long long)dealt, (unsigned long long)order->count, order->ranks);
	*turn = dealt / places * d2v_order_rounds(order) + rest / order->ranks;
	return D2V_OK;
}
