// What a compiler that was told -fsanitize=thread has its code call, here for emulated_races.cc: for every access to
// memory that may not be the thread's own.
#include <emulated_races.h>

#define D2V_ACCESS(name, bytes, write) \
	void __tsan_##name(void *at) { \
		d2v_races_access(at, bytes, write, __builtin_return_address(0)); \
	}

extern "C" {

void __tsan_init(void) {
	d2v_races_look();
}
D2V_ACCESS(read1, 1, false)
D2V_ACCESS(read2, 2, false)
D2V_ACCESS(read4, 4, false)
D2V_ACCESS(read8, 8, false)
D2V_ACCESS(read16, 16, false)
D2V_ACCESS(unaligned_read2, 2, false)
D2V_ACCESS(unaligned_read4, 4, false)
D2V_ACCESS(unaligned_read8, 8, false)
D2V_ACCESS(unaligned_read16, 16, false)
D2V_ACCESS(write1, 1, true)
D2V_ACCESS(write2, 2, true)
D2V_ACCESS(write4, 4, true)
D2V_ACCESS(write8, 8, true)
D2V_ACCESS(write16, 16, true)
D2V_ACCESS(unaligned_write2, 2, true)
D2V_ACCESS(unaligned_write4, 4, true)
D2V_ACCESS(unaligned_write8, 8, true)
D2V_ACCESS(unaligned_write16, 16, true)
void __tsan_read_range(void *at, size_t bytes) {
	d2v_races_access(at, bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void *at, size_t bytes) {
	d2v_races_access(at, bytes, true, __builtin_return_address(0));
}
void __tsan_vptr_update(void **at, void *) {
	d2v_races_access(at, sizeof *at, true, __builtin_return_address(0));
}
void __tsan_vptr_read(void **at) {
	d2v_races_access(at, sizeof *at, false, __builtin_return_address(0));
}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}
}
