// What the benchmarks share: clocks, medians, and what this machine's arithmetic can reach at most.
#pragma once

#include "base/types.h"

double measure_wall_s(void);
double measure_cpu_s(void); // of all threads of the process, user and system
// The middle value; sorts.
double measure_median(double *values, u32 count);

typedef enum { PEAK_FP32, PEAK_BF16 } peak_kind;
const char *measure_peak_name(peak_kind kind); // the instruction used
bool measure_peak_exists(peak_kind kind);
// FLOP per second of one thread while `threads` of them do nothing but multiply and add, by the CPU time they
// got: other jobs on the machine take time, not speed.
double measure_peak(peak_kind kind, u32 threads, double seconds);
