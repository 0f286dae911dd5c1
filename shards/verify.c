#include "shards/verify.h"

#include "base/file.h"
#include "base/memory.h"
#include "shards/manifest.h"
#include "shards/verify_shard.h"

#include <pthread.h>
#include <string.h>

#define JOBS_MAX 256

typedef struct task {
	char *file;                   // relative to the data set
	const d2v_shard_facts *facts; // borrowed from the manifest; NULL without one
} task;

// `lock` guards next, done, result, status and err, and is held while `found` and `progress` are called.
typedef struct run {
	const char *dataset;
	const d2v_verify_options *options;
	task *tasks;
	size_t count, capacity;
	uint64_t total; // bytes
	pthread_mutex_t lock;
	size_t next;
	d2v_verify_result result;
	d2v_status status;
	d2v_error err;
} run;

// What one thread is checking.
typedef struct worker {
	run *run;
	const char *file;
} worker;

static void found_in(run *self, const char *file, uint64_t record, const char *what) {
	pthread_mutex_lock(&self->lock);
	self->result.damages++;
	if (self->options->found)
		self->options->found(self->options->context, file, record, what);
	pthread_mutex_unlock(&self->lock);
}

static void found_by_worker(void *context, uint64_t record, const char *what) {
	worker *self = context;
	found_in(self->run, self->file, record, what);
}

static void progress_of_worker(void *context, uint64_t bytes, uint64_t records) {
	run *self = ((worker *)context)->run;
	pthread_mutex_lock(&self->lock);
	self->result.bytes += bytes;
	self->result.records += records;
	if (self->options->progress)
		self->options->progress(self->options->context, self->result.bytes, self->total);
	pthread_mutex_unlock(&self->lock);
}

static bool next_task(run *self, const task **at) {
	pthread_mutex_lock(&self->lock);
	bool more = self->status == D2V_OK && self->next < self->count;
	if (more)
		*at = &self->tasks[self->next++];
	pthread_mutex_unlock(&self->lock);
	return more;
}

static void end_task(run *self, d2v_status status, const d2v_error *err) {
	pthread_mutex_lock(&self->lock);
	self->result.shards++;
	if (status != D2V_OK && self->status == D2V_OK) {
		self->status = status;
		self->err = *err;
	}
	pthread_mutex_unlock(&self->lock);
}

static void *work(void *context) {
	run *self = context;
	const task *at;
	while (next_task(self, &at)) {
		worker own = { .run = self, .file = at->file };
		d2v_verify_sink sink = { found_by_worker, progress_of_worker, &own };
		d2v_error err = { 0 };
		char *path;
		d2v_status status = d2v_path_join(&path, self->dataset, at->file, &err);
		if (status == D2V_OK)
			status = d2v_verify_shard(path, at->facts, self->options->decode, &sink, &err);
		d2v_free(path);
		end_task(self, status, &err);
	}
	return NULL;
}

// The caller's thread is the first; threads that cannot be started leave their share to the others.
static void work_with_threads(run *self) {
	pthread_t threads[JOBS_MAX];
	int wanted = self->options->jobs < JOBS_MAX ? self->options->jobs : JOBS_MAX, started = 0;
	while (started + 1 < wanted && pthread_create(&threads[started], NULL, work, self) == 0)
		started++;
	work(self);
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}

static d2v_status add_task(
	run *self, const char *folder, const char *name, const d2v_shard_facts *facts, d2v_error *err) {
	D2V_TRY(d2v_reserve(&self->tasks, &self->capacity, self->count + 1, sizeof *self->tasks, err));
	task *made = &self->tasks[self->count];
	D2V_TRY(folder ? d2v_path_join(&made->file, folder, name, err) : d2v_strdup(&made->file, name, err));
	made->facts = facts;
	self->count++;
	return D2V_OK;
}

static d2v_status add_listed(run *self, const d2v_manifest *manifest, d2v_error *err) {
	for (size_t i = 0; i < manifest->split_count; i++)
		for (size_t k = 0; k < manifest->splits[i].shard_count; k++) {
			const d2v_manifest_shard *shard = &manifest->splits[i].shards[k];
			D2V_TRY(add_task(self, NULL, shard->file, &shard->facts, err));
			self->total += shard->facts.bytes;
		}
	return D2V_OK;
}

static bool is_shard_name(const char *name) {
	size_t size = strlen(name);
	return size > 4 && strcmp(name + size - 4, ".mdb") == 0;
}

// Without a manifest: what looks like a shard in the folders.
static d2v_status add_found_in(run *self, const char *folder, d2v_error *err) {
	char *path, **names = NULL;
	size_t count = 0;
	D2V_TRY(d2v_path_join(&path, self->dataset, folder, err));
	d2v_status status = D2V_OK;
	if (d2v_file_is_directory(path))
		status = d2v_file_list(path, &names, &count, err);
	for (size_t i = 0; i < count && status == D2V_OK; i++)
		if (is_shard_name(names[i]))
			status = add_task(self, folder, names[i], NULL, err);
	d2v_file_names_free(names, count);
	d2v_free(path);
	return status;
}

static d2v_status add_found(run *self, d2v_error *err) {
	char **names;
	size_t count;
	D2V_TRY(d2v_file_list(self->dataset, &names, &count, err));
	d2v_status status = D2V_OK;
	for (size_t i = 0; i < count && status == D2V_OK; i++)
		status = add_found_in(self, names[i], err);
	d2v_file_names_free(names, count);
	return status;
}

static d2v_status check_file(run *self, const d2v_manifest_file *file, d2v_error *err) {
	void *bytes;
	size_t size;
	d2v_status status = d2v_manifest_read_file(self->dataset, file, &bytes, &size, err);
	d2v_free(bytes);
	if (status == D2V_OK || status == D2V_NO_MEMORY)
		return status;
	found_in(self, file->file, UINT64_MAX,
		status == D2V_NOT_FOUND ? "is not there"
		: status == D2V_CORRUPT ? "its digest differs"
								: "cannot be read");
	return D2V_OK;
}

static d2v_status check_files(run *self, const d2v_manifest *manifest, d2v_error *err) {
	for (size_t i = 0; i < manifest->file_count; i++)
		D2V_TRY(check_file(self, &manifest->files[i], err));
	return D2V_OK;
}

// Messages about the manifest begin with its path, which the file that is named with them says already.
static const char *without_path(const run *self, const char *text) {
	size_t folder = strlen(self->dataset);
	const char *name = strncmp(text, self->dataset, folder) == 0 ? strstr(text + folder, D2V_MANIFEST_NAME ": ") : NULL;
	return name ? name + strlen(D2V_MANIFEST_NAME ": ") : text;
}

// Loads the manifest and lists what is to be checked.
static d2v_status plan(run *self, d2v_manifest *manifest, d2v_error *err) {
	d2v_error own = { 0 };
	d2v_status status = d2v_manifest_load(manifest, self->dataset, &own);
	if (status == D2V_OK)
		return add_listed(self, manifest, err);
	if (status != D2V_CORRUPT)
		return d2v_fail(err, status, "%s", own.text);
	found_in(self, D2V_MANIFEST_NAME, UINT64_MAX, without_path(self, own.text));
	return add_found(self, err);
}

d2v_status d2v_verify_dataset(
	const char *dataset, const d2v_verify_options *options, d2v_verify_result *result, d2v_error *err) {
	run self = { .dataset = dataset, .options = options };
	d2v_manifest manifest;
	d2v_manifest_init(&manifest, D2V_AUDIO);
	pthread_mutex_init(&self.lock, NULL);
	d2v_status status = plan(&self, &manifest, err);
	if (status == D2V_OK)
		status = check_files(&self, &manifest, err);
	if (status == D2V_OK) {
		work_with_threads(&self);
		if (self.status != D2V_OK)
			status = d2v_fail(err, self.status, "%s", self.err.text);
	}
	if (status == D2V_OK && self.result.damages)
		status = d2v_fail(err, D2V_CORRUPT, "%s: %llu %s found", dataset, (unsigned long long)self.result.damages,
			self.result.damages == 1 ? "damage" : "damages");
	*result = self.result;
	for (size_t i = 0; i < self.count; i++)
		d2v_free(self.tasks[i].file);
	d2v_free(self.tasks);
	d2v_manifest_release(&manifest);
	pthread_mutex_destroy(&self.lock);
	return status;
}
