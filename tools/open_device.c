#include "tools/open_device.h"

#include <stdio.h>
#include <string.h>

d2v_status d2v_open_device(d2v_device **device, const char *wanted, int64_t threads, d2v_error *err) {
	char name[64];
	if (threads == 0 || strncmp(wanted, "cuda", 4) == 0)
		return d2v_device_open(device, wanted, err);
	if (strcmp(wanted, "auto") == 0 && d2v_device_open(device, "cuda", NULL) == D2V_OK)
		return D2V_OK;
	if (strcmp(wanted, "auto") != 0 && strcmp(wanted, "cpu") != 0)
		return d2v_fail(
			err, D2V_INVALID, "device %s says already how many threads; leave the number of threads out", wanted);
	snprintf(name, sizeof name, "cpu:%lld", (long long)threads);
	return d2v_device_open(device, name, err);
}
