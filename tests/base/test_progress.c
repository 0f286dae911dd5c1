#include "base/log.h"
#include "base/progress.h"
#include "base/signals.h"

#include "tests/base/scratch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_numbers_for_people(void **state) {
	(void)state;
	char text[D2V_PROGRESS_TEXT];
	assert_string_equal(d2v_progress_duration(0, text), "0 s");
	assert_string_equal(d2v_progress_duration(59.6, text), "1 m 00 s");
	assert_string_equal(d2v_progress_duration(88, text), "1 m 28 s");
	assert_string_equal(d2v_progress_duration(3840, text), "1 h 04 m");
	assert_string_equal(d2v_progress_duration(90000, text), "1 d 01 h");
	assert_string_equal(d2v_progress_duration(700.0 * 86400, text), "700 d 00 h");
	assert_string_equal(d2v_progress_duration(5480.0 * 86400, text), "15 years");
	assert_string_equal(d2v_progress_duration(3.6e9, text), "114 years");
	assert_string_equal(d2v_progress_duration(-1, text), "unknown");
	assert_string_equal(d2v_progress_duration(1e300, text), "unknown");
	assert_string_equal(d2v_progress_duration(0.0 / 0.0, text), "unknown");
	assert_string_equal(d2v_progress_bytes(0, text), "0 B");
	assert_string_equal(d2v_progress_bytes(999, text), "999 B");
	assert_string_equal(d2v_progress_bytes(1.9e9, text), "1.9 GB");
	assert_string_equal(d2v_progress_bytes(999.9e6, text), "1.0 GB");
	assert_string_equal(d2v_progress_bytes(123e6, text), "123 MB");
	assert_string_equal(d2v_progress_bytes(9.97e6, text), "10 MB");
	assert_string_equal(d2v_progress_count(0, text), "0");
	assert_string_equal(d2v_progress_count(999, text), "999");
	assert_string_equal(d2v_progress_count(12345, text), "12,345");
	assert_string_equal(d2v_progress_count(UINT64_MAX, text), "18,446,744,073,709,551,615");
}

// Runs work with stderr going to a file and gives back what it wrote.
static void captured(void (*work)(void), char *text, size_t size) {
	FILE *file = tmpfile();
	assert_non_null(file);
	fflush(stderr);
	int kept = dup(STDERR_FILENO);
	dup2(fileno(file), STDERR_FILENO);
	work();
	fflush(stderr);
	dup2(kept, STDERR_FILENO);
	close(kept);
	rewind(file);
	text[fread(text, 1, size - 1, file)] = 0;
	fclose(file);
}

static void count_to_ten(void) {
	d2v_error err;
	d2v_progress *progress;
	assert_ok(d2v_progress_new(&progress, false, &err));
	for (int i = 1; i <= 10; i++)
		d2v_progress_update(progress, i, 0, "files %d", i);
	d2v_progress_finish(progress);
	d2v_progress_finish(progress);
	d2v_progress_free(progress);
}

static void count_quietly(void) {
	d2v_error err;
	d2v_progress *progress;
	assert_ok(d2v_progress_new(&progress, true, &err));
	d2v_progress_update(progress, 1, 2, "files %d", 1);
	d2v_progress_finish(progress);
	d2v_progress_free(progress);
	d2v_progress_free(NULL);
}

// Leaves out states before the one that is looked at: a busy machine may take so long that they are shown, too.
static const char *from(const char *word, const char *text) {
	const char *at = strstr(text, word);
	return at ? at : text;
}

static void test_lines(void **state) {
	(void)state;
	char text[4096];
	captured(count_to_ten, text, sizeof text);
	assert_string_equal(from("files 10", text), "files 10\n"); // not on a terminal: the last state, once
	captured(count_quietly, text, sizeof text);
	assert_string_equal(text, "");
}

// What is drawn on a terminal of so many columns.
static void drawn(void (*work)(void), unsigned short columns, char *text, size_t size) {
	int terminal = posix_openpt(O_RDWR | O_NOCTTY);
	assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
	int end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
	struct winsize window = { .ws_row = 24, .ws_col = columns };
	assert_true(end >= 0 && ioctl(end, TIOCSWINSZ, &window) == 0);
	int kept = dup(STDERR_FILENO);
	dup2(end, STDERR_FILENO);
	work();
	dup2(kept, STDERR_FILENO);
	close(kept);
	size_t length = 0;
	do { // the kernel hands it over piece by piece
		ssize_t got = read(terminal, text + length, size - 1 - length);
		assert_true(got > 0);
		length += (size_t)got;
	} while (text[length - 1] != '\n');
	text[length] = 0;
	close(end);
	close(terminal);
}

static void nearly_all(void) {
	d2v_error err;
	d2v_progress *progress;
	assert_ok(d2v_progress_new(&progress, false, &err));
	d2v_progress_update(progress, 0, 1001, "begun");
	usleep(1050000); // before, no time left is guessed
	d2v_progress_update(progress, 1000, 1001, "files 100  12.1 h  9,100x real time  0.00049 of it");
	d2v_progress_finish(progress);
	d2v_progress_free(progress);
}

static void test_narrow_terminals(void **state) {
	(void)state;
	char text[4096];
	drawn(nearly_all, 59, text, sizeof text); // one too few: the last field goes, whole, and the time left stays
	assert_string_equal(from("\rfiles", text), "\rfiles 100  12.1 h  9,100x real time  left 0 s\033[K\r\n");
	drawn(nearly_all, 30, text, sizeof text);
	assert_string_equal(from("\rfiles", text), "\rfiles 100  12.1 h  left 0 s\033[K\r\n");
	drawn(nearly_all, 5, text, sizeof text); // too narrow to be true: 80
	assert_non_null(strstr(text, "0.00049 of it  left 0 s"));
}

static void log_some(void) {
	d2v_log_set_program("d2v-test");
	d2v_debug("not %s", "shown");
	d2v_info("plain %d", 1);
	d2v_warn("careful");
	d2v_log_set_level(D2V_LOG_ERROR);
	d2v_warn("not shown");
	d2v_log(D2V_LOG_ERROR, "bad");
	d2v_log_set_level(D2V_LOG_INFO);
	char endless[5000];
	memset(endless, 'x', sizeof endless - 1);
	endless[sizeof endless - 1] = 0;
	d2v_info("%s", endless);
}

static void take_line(void *context, d2v_log_level level, const char *line) {
	snprintf(context, 100, "%d %s", (int)level, line);
}

static void test_log(void **state) {
	(void)state;
	char text[8192], taken[100] = "";
	captured(log_some, text, sizeof text);
	static const char expected[] = "d2v-test: plain 1\nd2v-test: warning: careful\nd2v-test: error: bad\nd2v-test: xxx";
	assert_int_equal(strncmp(text, expected, sizeof expected - 1), 0);
	assert_string_equal(text + strlen(text) - 5, "x...\n");
	d2v_log_set_sink(take_line, taken);
	d2v_warn("to the sink");
	d2v_log_set_sink(NULL, NULL);
	assert_string_equal(taken, "2 to the sink");
}

// In a process of its own, which installs with SIGHUP as given: the exit status after the first signal and the second.
// 1: a flag before any signal; 2: none after the first; 3: the second one passed.
static int exit_after(int first, int second, void (*hangup)(int)) {
	pid_t child = fork();
	if (child == 0) {
		signal(SIGHUP, hangup);
		d2v_signals_install();
		if (d2v_signals_asked())
			_exit(1);
		raise(first);
		if (!d2v_signals_asked())
			_exit(2);
		raise(second);
		_exit(3);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

// Where a handler's frame goes while the stack pointer is in a buffer on the heap (base/signals.h): not to the stack of the
// code that was interrupted. Exit status 0: so for all three.
static int handlers_have_a_stack(void) {
	pid_t child = fork();
	if (child == 0) {
		static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
		stack_t stack;
		signal(SIGHUP, SIG_DFL);
		d2v_signals_install();
		if (sigaltstack(NULL, &stack) != 0 || (stack.ss_flags & SS_DISABLE) || (long)stack.ss_size < sysconf(_SC_SIGSTKSZ))
			_exit(1);
		for (int i = 0; i < 3; i++) {
			struct sigaction action;
			if (sigaction(numbers[i], NULL, &action) != 0 || !(action.sa_flags & SA_ONSTACK))
				_exit(2 + i);
		}
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_signals(void **state) {
	(void)state;
	assert_int_equal(exit_after(SIGTERM, SIGINT, SIG_DFL), 130);
	assert_int_equal(exit_after(SIGHUP, SIGTERM, SIG_DFL), 130);
	assert_int_equal(exit_after(SIGHUP, SIGTERM, SIG_IGN), 2); // nohup
	assert_int_equal(exit_after(SIGTERM, SIGHUP, SIG_IGN), 3);
	assert_int_equal(handlers_have_a_stack(), 0);
	assert_false(d2v_signals_asked());
	d2v_signals_ask();
	assert_true(d2v_signals_asked());
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_for_people),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_narrow_terminals),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_signals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
