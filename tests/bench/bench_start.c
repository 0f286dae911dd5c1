// From typing `d2v-train audio-small` to its first step: opening the device and the data set, planning the batches,
// making the model, measuring the machine, and the first batch. The program itself is run, on a data set as long as
// LibriSpeech's train-clean-100, for one update and without saving; what the update took is subtracted.
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"
#include "tests/bench/work_folder.h"
#include "tests/loaders/speech_data.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define TARGET 2.0
#define UTTERANCES 28539
#define ROUNDS 3

extern char **environ;

static d2v_status run_program(char **arguments, d2v_error *err) {
	pid_t child;
	int status;
	if ((errno = posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ)))
		return d2v_fail_errno(err, "%s", arguments[0]);
	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		return d2v_fail(err, D2V_IO, "%s failed", arguments[0]);
	return D2V_OK;
}

static d2v_status step_seconds(const char *run, double *seconds, d2v_error *err) {
	char path[1100];
	json_t *line;
	snprintf(path, sizeof path, "%s/metrics.jsonl", run);
	D2V_TRY(d2v_json_load(path, 1 << 20, &line, err)); // of one update: one line
	*seconds = json_number_value(json_object_get(line, "step_seconds"));
	json_decref(line);
	return *seconds > 0 ? D2V_OK : d2v_fail(err, D2V_CORRUPT, "%s: no step_seconds", path);
}

static d2v_status measure(const char *folder, double *best, d2v_error *err) {
	const char *bin = getenv("BIN");
	char program[1024], data[1100], save_dir[1100], run[1024];
	double step;
	snprintf(program, sizeof program, "%s/d2v-train", bin ? bin : "build/bin");
	snprintf(run, sizeof run, "%s/run", folder);
	snprintf(data, sizeof data, "task.data=%s/data", folder);
	snprintf(save_dir, sizeof save_dir, "checkpoint.save_dir=%s", run);
	char *arguments[] = { program, (char[]){ "audio-small" }, data, save_dir, (char[]){ "optimization.max_update=1" },
		(char[]){ "lr_scheduler.warmup_updates=0" }, (char[]){ "checkpoint.no_save=true" },
		(char[]){ "common.log_interval=1" }, (char[]){ "task.min_sample_size=1600" },
		(char[]){ "dataset.batch_size=6" }, NULL };
	double start = d2v_clock();
	D2V_TRY(run_program(arguments, err));
	double whole = d2v_clock() - start;
	D2V_TRY(step_seconds(run, &step, err));
	*best = fmin(*best, whole - step);
	return d2v_file_remove_tree(run, err);
}

static d2v_status run(void *context, const char *folder, d2v_error *err) {
	(void)context;
	char data[1024];
	double best = INFINITY;
	snprintf(data, sizeof data, "%s/data", folder);
	// As many rows to plan with as the real thing, of a length that keeps the file small.
	speech_data make = { .folder = data, .seed = 1, .utterances = UTTERANCES, .shards = 6, .shortest = 1600 };
	make.longest = 4800, make.codec = D2V_CODEC_PCM16;
	D2V_TRY(speech_data_make(&make, err));
	for (int i = 0; i < ROUNDS; i++)
		D2V_TRY(measure(folder, &best, err));
	printf("from start to first step: %.2f s with %d utterances (below %g wanted)\n", best, UTTERANCES, TARGET);
	printf("{\"bench\":\"start\",\"seconds\":%.3g,\"target\":%g}\n", best, TARGET);
	return D2V_OK;
}

int main(void) {
	return work_in_folder("bench_start", run, NULL);
}
