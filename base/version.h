// The version of d2v, of which programs and checkpoints speak.
#ifndef D2V_BASE_VERSION_H
#define D2V_BASE_VERSION_H

#define D2V_VERSION "0.1.0"

#endif
