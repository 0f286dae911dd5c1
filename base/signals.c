#include "base/signals.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)64 << 10) // the registers of the largest processors take 11 KiB of it

// Lock-free, hence allowed in a handler, and seen by other threads.
static volatile sig_atomic_t asked;

static void handle(int number) {
	(void)number;
	if (__atomic_exchange_n(&asked, 1, __ATOMIC_RELAXED))
		_exit(130);
}

// The kernel gives a process's signals to its main thread, so that thread alone needs the stack. One that is there already
// (AddressSanitizer has one) stays.
static void make_stack(void) {
	static _Alignas(64) char bytes[STACK_BYTES];
	stack_t stack = { .ss_sp = bytes, .ss_size = sizeof bytes }, before;
	if (sigaltstack(NULL, &before) == 0 && (before.ss_flags & SS_DISABLE))
		sigaltstack(&stack, NULL);
}

void d2v_signals_install(void) {
	struct sigaction action, before;
	make_stack();
	memset(&action, 0, sizeof action);
	action.sa_handler = handle;
	action.sa_flags = SA_ONSTACK;
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
