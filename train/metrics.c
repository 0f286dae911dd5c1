#include "train/metrics.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGITS 9 // of reals: more than f32 has

struct d2v_metrics {
	int fd;
	char *path;
};

// Whether the line is whole and says an update that still counts.
static bool still_counts(const char *line, size_t length, uint64_t updates_done) {
	if (length == 0 || line[length - 1] != '\n')
		return false;
	json_t *object = json_loadb(line, length, 0, NULL);
	json_t *update = json_object_get(object, "update");
	bool counts = json_is_integer(update) && json_integer_value(update) >= 0 &&
				  (uint64_t)json_integer_value(update) <= updates_done;
	json_decref(object);
	return counts;
}

static d2v_status cut_back(d2v_metrics *metrics, uint64_t updates_done, d2v_error *err) {
	int copy = dup(metrics->fd);
	FILE *stream = copy < 0 ? NULL : fdopen(copy, "r");
	if (!stream) {
		d2v_status status = d2v_fail_errno(err, "%s: cannot be read", metrics->path);
		if (copy >= 0)
			close(copy);
		return status;
	}
	char *line = NULL;
	size_t capacity = 0;
	off_t keep = 0;
	ssize_t length;
	while ((length = getline(&line, &capacity, stream)) > 0 && still_counts(line, (size_t)length, updates_done))
		keep += length;
	free(line);
	fclose(stream);
	if (ftruncate(metrics->fd, keep) < 0 || lseek(metrics->fd, keep, SEEK_SET) < 0)
		return d2v_fail_errno(err, "%s: cannot be cut back", metrics->path);
	return D2V_OK;
}

d2v_status d2v_metrics_open(d2v_metrics **metrics, const char *path, uint64_t updates_done, d2v_error *err) {
	d2v_metrics *made;
	*metrics = NULL;
	D2V_TRY(d2v_alloc_zero(&made, 1, sizeof *made, err));
	made->fd = -1;
	d2v_status status = d2v_strdup(&made->path, path, err);
	if (status == D2V_OK) {
		made->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
		status = made->fd < 0 ? d2v_fail_errno(err, "%s: cannot be opened", path) : cut_back(made, updates_done, err);
	}
	if (status != D2V_OK) {
		d2v_metrics_close(made);
		return status;
	}
	*metrics = made;
	return D2V_OK;
}

void d2v_metrics_close(d2v_metrics *metrics) {
	if (!metrics)
		return;
	if (metrics->fd >= 0)
		close(metrics->fd);
	d2v_free(metrics->path);
	d2v_free(metrics);
}

static d2v_status write_all(d2v_metrics *metrics, const char *text, size_t size, d2v_error *err) {
	while (size) {
		ssize_t done = write(metrics->fd, text, size);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return d2v_fail_errno(err, "%s: cannot be written", metrics->path);
		text += done;
		size -= (size_t)done;
	}
	return D2V_OK;
}

d2v_status d2v_metrics_write(d2v_metrics *metrics, const json_t *line, d2v_error *err) {
	char *text = json_dumps(line, JSON_REAL_PRECISION(DIGITS)), *whole = NULL;
	if (!text)
		return d2v_fail(err, D2V_NO_MEMORY, "%s: out of memory for a line", metrics->path);
	d2v_status status = d2v_asprintf(&whole, err, "%s\n", text);
	if (status == D2V_OK)
		status = write_all(metrics, whole, strlen(whole), err);
	d2v_free(whole);
	free(text);
	return status;
}

json_t *d2v_metrics_real(double value) {
	return isfinite(value) ? json_real(value) : json_null();
}
