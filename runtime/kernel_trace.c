// The log of a window as a trace: under each PE its tasks with the instructions that they wait for, its
// microthreads, what it sends and takes, and a track for each color that passes its router.
#include "runtime/kernel_view.h"
#include "traces/trace.h"

#include <stdio.h>
#include <string.h>

enum {
  CYCLE_NS = 1000,
  THREADS = 8,
  COLORS = 32,
  TRACK_TASK = 0,
  TRACK_SENDS = THREADS,
  TRACK_TAKES,
  TRACK_COLOR,
  TRACKS = TRACK_COLOR + COLORS
};

typedef struct pe_tracks {
  u64 used; // bits by track
  trace_track track[TRACKS];
  const fabric_entry *task, *vector[THREADS]; // begun and not ended
} pe_tracks;

typedef struct writer {
  trace *t;
  const dataflow *d;
  const fabric_watch *w;
  const fabric_entry *log;
  u32 count;
  u64 stop;        // cycle after the last
  pe_tracks **pes; // of the rectangle, those that have entries
  text name;
} writer;

_Static_assert(TRACKS <= 64, "a bit each");

static u32 track_of(const fabric_entry *e) {
  switch (e->kind) {
  case FABRIC_SENDS:
    return TRACK_SENDS;
  case FABRIC_TAKES:
    return TRACK_TAKES;
  case FABRIC_PASSES:
  case FABRIC_TURNS:
  case FABRIC_STANDS:
    return TRACK_COLOR + e->color;
  default:
    return e->thread; // the task's own instructions lie in its slice
  }
}

static pe_tracks *pe_at(const writer *w, u32 x, u32 y) {
  return w->pes[(size_t)(y - w->w->y) * w->w->w + x - w->w->x];
}

static void name_track(u32 track, char *out, size_t room) {
  if (track == TRACK_TASK)
    snprintf(out, room, "task");
  else if (track < THREADS)
    snprintf(out, room, "microthread %u", track);
  else if (track == TRACK_SENDS)
    snprintf(out, room, "sends");
  else if (track == TRACK_TAKES)
    snprintf(out, room, "takes");
  else
    snprintf(out, room, "router, color %u", track - TRACK_COLOR);
}

static void open_pe(writer *w, trace_track process, u32 x, u32 y) {
  pe_tracks *p = pe_at(w, x, y);
  if (!p) return;
  char name[64];
  snprintf(name, sizeof name, "PE (%u,%u)", x, y);
  const trace_track parent = trace_add_track(w->t, process, name);
  for (u32 i = 0; i < TRACKS; i++) {
    if (!(p->used >> i & 1)) continue;
    name_track(i, name, sizeof name);
    p->track[i] = trace_add_track(w->t, parent, name);
  }
}

static void open_tracks(writer *w, arena *a) {
  w->pes = arena_array(a, pe_tracks *, (size_t)w->w->w * w->w->h);
  for (u32 i = 0; i < w->count; i++) {
    const fabric_entry *e = &w->log[i];
    pe_tracks **p = &w->pes[(size_t)(e->y - w->w->y) * w->w->w + e->x - w->w->x];
    if (!*p) *p = arena_array(a, pe_tracks, 1);
    (*p)->used |= 1ull << track_of(e);
    if (e->cycle >= w->stop) w->stop = e->cycle + 1;
  }
  char name[80];
  snprintf(name, sizeof name, "program %s, a cycle drawn as 1 us", w->d->name);
  const trace_track process = trace_add_track(w->t, 0, name);
  for (u32 y = w->w->y; y < w->w->y + w->w->h; y++)
    for (u32 x = w->w->x; x < w->w->x + w->w->w; x++) open_pe(w, process, x, y);
}

// The line of the log without cycle and PE is the detail of a slice.
static const char *words_of(writer *w, const fabric_entry *e) {
  text_clear(&w->name);
  fabric_say(w->d, e, &w->name);
  const char *after = strchr(text_get(&w->name), ')');
  return after + 1 + strspn(after + 1, " ");
}

static void add_slice(writer *w, const fabric_entry *e, const char *name, u64 from, u64 until) {
  const trace_arg args[] = {{"log", words_of(w, e), 0}};
  trace_add_slice(w->t, &(trace_slice){pe_at(w, e->x, e->y)->track[track_of(e)], name, fabric_event_name(e->kind),
                                       (i64)from * CYCLE_NS, (i64)until * CYCLE_NS, args, COUNT_OF(args)});
}

static void add_vector(writer *w, const fabric_entry *e, u64 until) {
  text name = {0};
  dataflow_print_operation(w->d, &w->d->classes[e->class], &w->d->instructions[e->instruction], &name);
  add_slice(w, e, text_get(&name), e->since, until);
  text_free(&name);
}

static void add_task(writer *w, const fabric_entry *e, u64 until) {
  add_slice(w, e, w->d->tasks[e->task].name, e->since, until);
}

// Of slices that are equal in time the first is the outer one: tasks, then instructions, then waits.
static void add_tasks(writer *w) {
  for (u32 i = 0; i < w->count; i++) {
    const fabric_entry *e = &w->log[i];
    pe_tracks *p = pe_at(w, e->x, e->y);
    if (e->kind == FABRIC_TASK_STARTS) p->task = e;
    if (e->kind != FABRIC_TASK_ENDS) continue;
    add_task(w, e, e->cycle);
    p->task = NULL;
  }
  for (u64 i = 0; i < (u64)w->w->w * w->w->h; i++)
    if (w->pes[i] && w->pes[i]->task) add_task(w, w->pes[i]->task, w->stop);
}

static void add_vectors(writer *w) {
  for (u32 i = 0; i < w->count; i++) {
    const fabric_entry *e = &w->log[i];
    const fabric_entry **open = &pe_at(w, e->x, e->y)->vector[e->thread];
    if (e->kind == FABRIC_VECTOR_STARTS) *open = e;
    if (e->kind != FABRIC_VECTOR_ENDS) continue;
    add_vector(w, e, e->cycle);
    *open = NULL;
  }
  for (u64 i = 0; i < (u64)w->w->w * w->w->h; i++)
    for (u32 k = 0; w->pes[i] && k < THREADS; k++)
      if (w->pes[i]->vector[k]) add_vector(w, w->pes[i]->vector[k], w->stop);
}

static void add_rest(writer *w) {
  char name[80];
  for (u32 i = 0; i < w->count; i++) {
    const fabric_entry *e = &w->log[i];
    if (e->kind == FABRIC_WAITED_INPUT || e->kind == FABRIC_WAITED_ROOM) {
      snprintf(name, sizeof name, "waits for %s color %u", e->kind == FABRIC_WAITED_INPUT ? "a wavelet of" : "room on",
               e->color);
      add_slice(w, e, name, e->since, e->goes_on ? w->stop : e->cycle);
    }
    if (e->kind < FABRIC_SENDS || e->kind == FABRIC_STANDS) continue;
    if (e->kind == FABRIC_TURNS)
      snprintf(name, sizeof name, "position %u", e->position);
    else if (e->control)
      snprintf(name, sizeof name, "control");
    else
      snprintf(name, sizeof name, "0x%08x", e->word);
    add_slice(w, e, name, e->cycle, e->cycle + 1);
  }
}

bool kernel_trace_write(const char *path, const fabric *f, const dataflow *d, const fabric_watch *watch, status *st) {
  writer w = {.d = d, .w = watch};
  w.log = fabric_log(f, &w.count, NULL);
  w.t = trace_create(path, 0, st);
  if (!w.t) return false;
  arena *a = arena_create("trace");
  open_tracks(&w, a);
  add_tasks(&w);
  add_vectors(&w);
  add_rest(&w);
  text_free(&w.name);
  arena_destroy(a);
  return trace_finish(w.t, st);
}
