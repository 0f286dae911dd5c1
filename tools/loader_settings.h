// What a recipe says, in the terms of the loaders.
#ifndef D2V_TOOLS_LOADER_SETTINGS_H
#define D2V_TOOLS_LOADER_SETTINGS_H

#include "kernels/device.h"
#include "loaders/frames.h"
#include "loaders/masks.h"
#include "loaders/source.h"
#include "train/model_config.h"

d2v_mask_settings d2v_loader_masks(const d2v_modality_config *modality);
d2v_status d2v_loader_frames(const d2v_modality_config *audio, d2v_frames_spec *frames, d2v_error *err);
// Memory for batches that the device reads fast. The device must outlive the source.
d2v_source_allocator d2v_loader_memory(d2v_device *device);

#endif
