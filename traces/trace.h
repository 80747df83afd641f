// Writes a trace that Perfetto opens (its protobuf, zlib-compressed packets), and reads it back for
// inspection without a browser. Knows tracks, slices and counters, nothing of wafers.
#pragma once

#include "base/file.h"

typedef struct trace trace;
typedef u64 trace_track; // 0 is the root

// Written as PATH.partial and renamed by trace_finish; budget is the most slices and counter values
// it takes before it stops and says so in its summary (0: 2 million).
trace *trace_create(const char *path, u64 budget, status *st);
// Tracks show in the order of creation under their parent.
trace_track trace_add_track(trace *t, trace_track parent, const char *name);
trace_track trace_add_counter(trace *t, trace_track parent, const char *name, const char *unit);

typedef struct trace_arg {
  const char *key;
  const char *text; // NULL: the number
  double number;
} trace_arg;
typedef struct trace_slice {
  trace_track track;
  const char *name, *category;
  i64 start_ns, end_ns;
  const trace_arg *args;
  u32 arg_count;
} trace_slice;
// Slices may come in any order (they are sorted by time when the trace is finished); slices on one
// track must nest or not overlap.
void trace_add_slice(trace *t, const trace_slice *s);
void trace_add_value(trace *t, trace_track counter, i64 at_ns, double value);
// Ends with a summary packet (counts; whether the budget cut it), syncs and renames. Destroys t.
bool trace_finish(trace *t, status *st);
void trace_abandon(trace *t); // removes the partial file, destroys t

// --- reading back
typedef struct trace_info {
  u64 packets, tracks, slices, counters, counter_values;
  i64 first_ns, last_ns;
  bool truncated; // no summary packet, or counts that differ from it
  bool budget_cut;
} trace_info;
bool trace_inspect(const char *path, trace_info *ret_info, status *st);

typedef struct trace_total {
  const char *track, *name;
  u64 count;
  double total_ns, longest_ns;
} trace_total;
// Time by (track, slice name), longest first.
bool trace_totals(const char *path, arena *a, const trace_total **ret_rows, u32 *ret_count, status *st);
