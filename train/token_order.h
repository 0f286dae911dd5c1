// The places of a batch's tokens, sorted by token: with it the gradient of a row of the embedding's table is a sum over
// places that follow each other (d2v_embedding's order).
#ifndef D2V_TRAIN_TOKEN_ORDER_H
#define D2V_TRAIN_TOKEN_ORDER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

// Starts as zeros; its memory is kept from one batch to the next.
typedef struct d2v_token_order {
	int32_t *places; // (count) of the last batch: ascending by token, equal ones by place
	size_t size;
	int32_t *next; // (vocabulary + 1) where the next place of a token goes
	size_t next_size;
} d2v_token_order;

// tokens: (count) in [0, vocabulary); count is at most INT32_MAX.
d2v_status d2v_token_order_set(
	d2v_token_order *order, const int32_t *tokens, size_t count, size_t vocabulary, d2v_error *err);
void d2v_token_order_release(d2v_token_order *order);

#endif
