// The device that a configuration asks for: d2v.device and d2v.threads.
#ifndef D2V_TOOLS_OPEN_DEVICE_H
#define D2V_TOOLS_OPEN_DEVICE_H

#include "kernels/device.h"

// wanted: "cpu", "cuda", "cuda:N" or "auto". threads: compute threads on the CPU; 0: all processors.
d2v_status d2v_open_device(d2v_device **device, const char *wanted, int64_t threads, d2v_error *err);

#endif
