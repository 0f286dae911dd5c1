// Runs a command and says on standard error how much memory it had resident at most; fails when that is over the limit.
//     helper_peak LIMIT-IN-MEBIBYTES COMMAND...
// Exit status: the command's, 128 + its signal, or 99 when only the limit was passed.
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
	struct rusage usage;
	int status;
	if (argc < 3)
		return fprintf(stderr, "usage: helper_peak LIMIT-IN-MEBIBYTES COMMAND...\n"), 2;
	pid_t child = fork();
	if (child == 0) {
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &usage) != child)
		return perror("helper_peak"), 2;
	long peak = usage.ru_maxrss / 1024, limit = strtol(argv[1], NULL, 10);
	fprintf(stderr, "peak of resident memory: %ld MiB of %ld MiB\n", peak, limit);
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status) ? WEXITSTATUS(status) : peak > limit ? 99 : 0;
}
