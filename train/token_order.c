#include "train/token_order.h"

#include "base/memory.h"

#include <string.h>

d2v_status d2v_token_order_set(
	d2v_token_order *order, const int32_t *tokens, size_t count, size_t vocabulary, d2v_error *err) {
	D2V_TRY(d2v_reserve(&order->places, &order->size, count, sizeof *order->places, err));
	D2V_TRY(d2v_reserve(&order->next, &order->next_size, vocabulary + 1, sizeof *order->next, err));
	int32_t *next = order->next;
	memset(next, 0, (vocabulary + 1) * sizeof *next);
	for (size_t i = 0; i < count; i++)
		next[tokens[i] + 1]++;
	for (size_t v = 0; v < vocabulary; v++)
		next[v + 1] += next[v];
	for (size_t i = 0; i < count; i++)
		order->places[next[tokens[i]]++] = (int32_t)i;
	return D2V_OK;
}

void d2v_token_order_release(d2v_token_order *order) {
	d2v_free(order->places);
	d2v_free(order->next);
	*order = (d2v_token_order){ .places = NULL };
}
