// How compute threads wait for each other at the end of a parallel region.
//
// libgomp lets them spin 300,000 times before they sleep, about ten milliseconds on processors whose pause is long.
// Where another program has one of the processors that is nearly always in vain, and it takes the time from the thread
// that is waited for: with two more programs on two processors the tiny recipes took two to three times as long, and
// features of few samples ten to twenty times. A thousand times, which libgomp takes by itself where threads outnumber
// processors, is as fast where nobody else is at work. It reads its settings from the environment before main, so they
// are put there and the program starts once more; OMP_WAIT_POLICY and GOMP_SPINCOUNT of the user's are left alone.
#ifndef D2V_TOOLS_THREAD_WAITING_H
#define D2V_TOOLS_THREAD_WAITING_H

// Before anything else in main, with its argv. Returns when there is nothing to change, or it cannot be changed.
void thread_waiting_choose(char **argv);

#endif
