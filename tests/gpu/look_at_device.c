// The first look at a device, before a long list of things is asked of it: it is opened, given memory, and runs one
// operation, so that a missing GPU or driver, a card that none of the code was made for, and one that others have
// filled are said once. Argument: DEVICE. Silent when all is well; otherwise one line, and the exit status of its
// error.
#include "kernels/device.h"

#include <stdio.h>

#define COUNT 1024 // numbers

static d2v_status run_something(d2v_device *device, void *memory, d2v_error *err) {
	float ones[COUNT], back[COUNT];
	float *floats = memory;
	d2v_real *reals = (d2v_real *)(void *)(floats + COUNT);
	for (int i = 0; i < COUNT; i++)
		ones[i] = 1, back[i] = 0;
	d2v_device_upload(device, floats, ones, sizeof ones);
	d2v_device_to_real(device, reals, floats, COUNT);
	d2v_device_to_float(device, floats, reals, COUNT);
	d2v_device_download(device, back, floats, sizeof back);
	D2V_TRY(d2v_device_sync(device, err));
	for (int i = 0; i < COUNT; i++)
		if (!(back[i] == 1))
			return d2v_fail(err, D2V_CORRUPT, "%s: a 1 came back as %g", d2v_device_name(device), (double)back[i]);
	return D2V_OK;
}

static d2v_status look(const char *name, d2v_error *err) {
	d2v_device *device = NULL;
	void *memory = NULL;
	d2v_status status = d2v_device_open(&device, name, err);
	if (status == D2V_OK)
		status = d2v_device_alloc(device, &memory, 2 * COUNT * sizeof(float), err);
	if (status == D2V_OK)
		status = run_something(device, memory, err);
	if (device)
		d2v_device_free(device, memory);
	d2v_device_close(device);
	return status;
}

int main(int argc, char **argv) {
	d2v_error err = { 0 };
	const char *name = argc > 1 ? argv[1] : "cuda";
	if (look(name, &err) == D2V_OK)
		return 0;
	fprintf(
		stderr, "%s. So nothing was run; DEVICE=cuda:N names another GPU of those that nvidia-smi lists.\n", err.text);
	return d2v_status_exit_code(err.status);
}
