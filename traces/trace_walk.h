// Reads a trace packet by packet, for whoever wants more of it than counts and totals: pictures, Chrome
// JSON, CSV.
#pragma once

#include "traces/trace.h"

typedef enum trace_event_kind {
  TRACE_EVENT_BEGIN,
  TRACE_EVENT_END,
  TRACE_EVENT_INSTANT,
  TRACE_EVENT_VALUE
} trace_event_kind;

typedef struct trace_seen_track {
  u64 uuid, parent; // parent 0: the root
  const char *name; // "" where none was given
  const char *unit; // of a counter, "" where it has none; NULL: slices
} trace_seen_track;

typedef struct trace_event {
  trace_event_kind kind;
  u64 track;
  i64 at_ns;
  const char *name, *category; // "" where none; an end has no name
  double value;                // TRACE_EVENT_VALUE
  const trace_arg *args;
  u32 arg_count;
} trace_event;

// What a walk calls; either may be NULL. Pointers in events are good during the call; those in tracks
// as long as the arena is, and so are the names and categories of events.
typedef struct trace_walker {
  void (*track)(void *user, const trace_seen_track *t);
  void (*event)(void *user, const trace_event *e);
  void *user;
} trace_walker;

// Tracks come before their events, events of one track in the order of time. The root track and the
// summary are not shown. A file that ends too early is no failure: ret_info->truncated.
bool trace_walk(const char *path, const trace_walker *walker, arena *a, trace_info *ret_info, status *st);
