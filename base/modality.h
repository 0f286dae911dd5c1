// The three kinds of data d2v knows. In base/ because shards, loaders and the trainer all speak of them and must not know
// each other. Values are stored in shards: append, never renumber.
#ifndef D2V_BASE_MODALITY_H
#define D2V_BASE_MODALITY_H

typedef enum d2v_modality { D2V_AUDIO = 1, D2V_IMAGE = 2, D2V_TEXT = 3 } d2v_modality;
#define D2V_MODALITY_END 4

static inline const char *d2v_modality_name(d2v_modality modality) {
	return modality == D2V_AUDIO ? "audio" : modality == D2V_IMAGE ? "image" : modality == D2V_TEXT ? "text" : "unknown";
}

// What a data set of it is full of: "a data set of recordings".
static inline const char *d2v_modality_contents(d2v_modality modality) {
	return modality == D2V_AUDIO ? "recordings" : modality == D2V_IMAGE ? "pictures" : "text";
}

#endif
