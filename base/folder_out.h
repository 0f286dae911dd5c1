// A folder being written aside, as NAME.partial, so that a reader sees all of it or nothing; the folder's d2v_file_out.
//
// Life: begin -> files are written below d2v_folder_place -> commit or abandon, which both end it. What a killed
// program left under that name is removed by the next begin; while a program is at work there, on this machine, begin
// fails. One thread.
#ifndef D2V_BASE_FOLDER_OUT_H
#define D2V_BASE_FOLDER_OUT_H

#include "base/error.h"

typedef struct d2v_folder_out d2v_folder_out;

// path: what it will be called, with or without a slash at its end. D2V_EXISTS when another program is writing it.
d2v_status d2v_folder_begin(d2v_folder_out **out, const char *path, d2v_error *err);
const char *d2v_folder_place(const d2v_folder_out *out); // where it is now; borrowed
// Renames and syncs the folder that holds it; what lies below was synced by whoever wrote it. On failure nothing is
// published and what was written is gone.
d2v_status d2v_folder_commit(d2v_folder_out *out, d2v_error *err);
void d2v_folder_abandon(d2v_folder_out *out); // NULL is allowed

#endif
