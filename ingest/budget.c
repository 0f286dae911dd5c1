#include "ingest/budget.h"

#include "base/memory.h"

#include <pthread.h>

struct d2v_budget {
	pthread_mutex_t mutex; // guards everything below
	pthread_cond_t changed;
	uint64_t limit, used, peak, oldest;
	bool stopped;
};

d2v_status d2v_budget_new(d2v_budget **budget, uint64_t limit, d2v_error *err) {
	D2V_TRY(d2v_alloc_zero(budget, 1, sizeof **budget, err));
	pthread_mutex_init(&(*budget)->mutex, NULL);
	pthread_cond_init(&(*budget)->changed, NULL);
	(*budget)->limit = limit;
	return D2V_OK;
}

void d2v_budget_free(d2v_budget *budget) {
	if (!budget)
		return;
	pthread_cond_destroy(&budget->changed);
	pthread_mutex_destroy(&budget->mutex);
	d2v_free(budget);
}

bool d2v_budget_reserve(d2v_budget *budget, uint64_t ticket, uint64_t bytes) {
	pthread_mutex_lock(&budget->mutex);
	while (!budget->stopped && ticket != budget->oldest && budget->used + bytes > budget->limit)
		pthread_cond_wait(&budget->changed, &budget->mutex);
	bool granted = !budget->stopped;
	if (granted) {
		budget->used += bytes;
		if (budget->used > budget->peak)
			budget->peak = budget->used;
	}
	pthread_mutex_unlock(&budget->mutex);
	return granted;
}

void d2v_budget_release(d2v_budget *budget, uint64_t bytes) {
	pthread_mutex_lock(&budget->mutex);
	D2V_ASSERT(bytes <= budget->used);
	budget->used -= bytes;
	pthread_cond_broadcast(&budget->changed);
	pthread_mutex_unlock(&budget->mutex);
}

void d2v_budget_advance(d2v_budget *budget, uint64_t oldest) {
	pthread_mutex_lock(&budget->mutex);
	budget->oldest = oldest;
	pthread_cond_broadcast(&budget->changed);
	pthread_mutex_unlock(&budget->mutex);
}

void d2v_budget_stop(d2v_budget *budget) {
	pthread_mutex_lock(&budget->mutex);
	budget->stopped = true;
	pthread_cond_broadcast(&budget->changed);
	pthread_mutex_unlock(&budget->mutex);
}

uint64_t d2v_budget_peak(d2v_budget *budget) {
	pthread_mutex_lock(&budget->mutex);
	uint64_t peak = budget->peak;
	pthread_mutex_unlock(&budget->mutex);
	return peak;
}
