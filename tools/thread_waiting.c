#include "tools/thread_waiting.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define SPINS "GOMP_SPINCOUNT"

void thread_waiting_choose(char **argv) {
	char program[PATH_MAX];
	if (getenv(SPINS) || getenv("OMP_WAIT_POLICY"))
		return;
	// Not /proc/self/exe itself, which would then be the name that ps shows.
	ssize_t length = readlink("/proc/self/exe", program, sizeof program);
	if (length <= 0 || (size_t)length >= sizeof program || setenv(SPINS, "1000", 1) != 0)
		return;
	program[length] = '\0';
	execv(program, argv);
}
