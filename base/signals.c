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

// The kernel gives a process's signals to its main thread, so that thread alone needs the stack. One that is there
// already (AddressSanitizer has one) stays.
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

// Only what may be called in a handler.
static void explain_bus_error(int number, siginfo_t *info, void *context) {
	static const char text[] =
		"error: a file cannot be read where it is mapped into memory: its disk failed, or it was cut "
		"off while it was in use; d2v-shard verify finds out which\n";
	(void)context;
	if (info->si_code == BUS_ADRERR) {
		ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
		_exit(written < 0 ? 1 : 3);
	}
	signal(number, SIG_DFL); // our own mistake: it comes again at once, and then for good
}

void d2v_signals_explain(void) {
	struct sigaction action;
	memset(&action, 0, sizeof action);
	action.sa_sigaction = explain_bus_error;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
	signal(SIGXFSZ, SIG_IGN);
}

bool d2v_signals_asked(void) {
	return __atomic_load_n(&asked, __ATOMIC_RELAXED);
}

void d2v_signals_ask(void) {
	__atomic_store_n(&asked, 1, __ATOMIC_RELAXED);
}
