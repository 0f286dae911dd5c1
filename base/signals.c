#include "base/signals.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

// Lock-free, hence allowed in a handler, and seen by other threads.
static volatile sig_atomic_t asked;

static void handle(int number) {
	(void)number;
	if (__atomic_exchange_n(&asked, 1, __ATOMIC_RELAXED))
		_exit(130);
}

void d2v_signals_install(void) {
	struct sigaction action, before;
	memset(&action, 0, sizeof action);
	action.sa_handler = handle;
	// Without SA_RESTART a read or a wait that lasts for ever comes back and its loop sees the flag.
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &action, NULL);
}

bool d2v_signals_asked(void) {
	return __atomic_load_n(&asked, __ATOMIC_RELAXED);
}

void d2v_signals_ask(void) {
	__atomic_store_n(&asked, 1, __ATOMIC_RELAXED);
}
