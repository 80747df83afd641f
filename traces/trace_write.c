// Writes a trace: collects slices and values in memory, then sorts them by time and streams them out as
// compressed packets, with the counts in a summary at the very end.
//
// Invariants of the file
// 1. All packets are of one sequence; the first clears its state, each that names an event needs it.
// 2. A name is defined in the packet that uses it first.
// 3. On each track begins and ends are balanced and nested in file order, also at equal times.
// 4. The last packet is the summary; it is not compressed.
#include "traces/trace.h"
#include "traces/protobuf.h"
#include "traces/trace_format.h"
#include "base/hash.h"
#include "base/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { BUDGET_DEFAULT = 2000000 };

typedef struct stored_track {
  const char *name, *unit; // unit: of a counter, else NULL
  u64 parent;
  u32 rank, children;
} stored_track;

typedef struct stored_slice {
  u64 track;
  i64 start_ns, end_ns;
  u32 name, category;
  u32 first_arg, arg_count;
  u32 order; // of arrival
} stored_slice;

typedef struct stored_value {
  u64 track;
  i64 at_ns;
  double value;
} stored_value;

typedef struct stored_arg {
  u32 key, word; // word: TEXT_NONE for a number
  double number;
} stored_arg;

#define TEXT_NONE UINT32_MAX

// Distinct words, numbered from 0; slots hold number + 1.
typedef struct word_table {
  const char **words;
  u32 *slots;
  u32 count, room; // room: slots, a power of two
} word_table;

struct trace {
  arena *memory;
  file_writer file;
  u64 budget;
  bool budget_cut;
  u32 root_children;
  word_table words;
  text tracks, slices, values, args; // arrays of stored_*
};

static u32 count_of(const text *array, size_t one) {
  return (u32)(array->size / one);
}
#define TRACKS(t) ((stored_track *)(void *)(t)->tracks.data)
#define SLICES(t) ((stored_slice *)(void *)(t)->slices.data)
#define VALUES(t) ((stored_value *)(void *)(t)->values.data)
#define ARGS(t) ((stored_arg *)(void *)(t)->args.data)

// ---- collecting

trace *trace_create(const char *path, u64 budget, status *st) {
  arena *a = arena_create("trace");
  trace *t = arena_take(a, sizeof *t);
  t->memory = a;
  t->budget = budget ? budget : BUDGET_DEFAULT;
  if (t->budget > UINT32_MAX / 4) t->budget = UINT32_MAX / 4; // indices are 32 bits
  if (file_begin(&t->file, path, st)) return t;
  arena_destroy(a);
  return NULL;
}

static void destroy(trace *t) {
  text_free(&t->tracks);
  text_free(&t->slices);
  text_free(&t->values);
  text_free(&t->args);
  free(t->words.words);
  free(t->words.slots);
  arena_destroy(t->memory);
}

void trace_abandon(trace *t) {
  if (!t) return;
  file_abandon(&t->file);
  destroy(t);
}

static void *resize(void *memory, size_t bytes) {
  void *grown = realloc(memory, bytes);
  if (!grown) bug_fail(__FILE__, __LINE__, "out of memory for a trace");
  return grown;
}

static void words_grow(word_table *w) {
  w->room = w->room ? 2 * w->room : 256;
  w->words = resize(w->words, sizeof *w->words * w->room);
  w->slots = resize(w->slots, sizeof *w->slots * w->room);
  memset(w->slots, 0, sizeof *w->slots * w->room);
  for (u32 i = 0; i < w->count; i++) {
    u32 at = (u32)hash_text(HASH_START, w->words[i]) & (w->room - 1);
    while (w->slots[at]) at = (at + 1) & (w->room - 1);
    w->slots[at] = i + 1;
  }
}

static u32 intern(trace *t, const char *word) {
  word_table *w = &t->words;
  if (2 * w->count >= w->room) words_grow(w);
  u32 at = (u32)hash_text(HASH_START, word) & (w->room - 1);
  for (; w->slots[at]; at = (at + 1) & (w->room - 1))
    if (!strcmp(w->words[w->slots[at] - 1], word)) return w->slots[at] - 1;
  w->words[w->count] = arena_text(t->memory, word);
  w->slots[at] = ++w->count;
  return w->count - 1;
}

// A track's handle is its uuid: the root has 1, the first track 2.
static trace_track add_track(trace *t, trace_track parent, const char *name, const char *unit) {
  const u32 count = count_of(&t->tracks, sizeof(stored_track));
  require(parent == 0 || (parent > TRACE_ROOT_UUID && parent - TRACE_ROOT_UUID <= count));
  u32 *children = parent ? &TRACKS(t)[parent - TRACE_ROOT_UUID - 1].children : &t->root_children;
  const u32 rank = (*children)++;
  const stored_track track = {arena_text(t->memory, name), unit ? arena_text(t->memory, unit) : NULL,
                              parent ? parent : TRACE_ROOT_UUID, rank, 0};
  text_add_bytes(&t->tracks, &track, sizeof track);
  return TRACE_ROOT_UUID + 1 + count;
}

trace_track trace_add_track(trace *t, trace_track parent, const char *name) {
  return add_track(t, parent, name, NULL);
}

trace_track trace_add_counter(trace *t, trace_track parent, const char *name, const char *unit) {
  return add_track(t, parent, name, unit ? unit : "");
}

static bool is_track(const trace *t, trace_track track, bool counter) {
  if (track <= TRACE_ROOT_UUID || track - TRACE_ROOT_UUID > count_of(&t->tracks, sizeof(stored_track))) return false;
  return (TRACKS(t)[track - TRACE_ROOT_UUID - 1].unit != NULL) == counter;
}

static bool within_budget(trace *t) {
  const u64 taken = (u64)count_of(&t->slices, sizeof(stored_slice)) + count_of(&t->values, sizeof(stored_value));
  if (taken >= t->budget) t->budget_cut = true;
  return taken < t->budget;
}

void trace_add_slice(trace *t, const trace_slice *s) {
  require(is_track(t, s->track, false) && s->start_ns >= 0 && s->end_ns >= s->start_ns);
  if (!within_budget(t)) return;
  const stored_slice slice = {s->track,
                              s->start_ns,
                              s->end_ns,
                              intern(t, s->name),
                              intern(t, s->category ? s->category : "weft"),
                              count_of(&t->args, sizeof(stored_arg)),
                              s->arg_count,
                              count_of(&t->slices, sizeof(stored_slice))};
  text_add_bytes(&t->slices, &slice, sizeof slice);
  for (u32 i = 0; i < s->arg_count; i++) {
    const trace_arg *a = &s->args[i];
    const stored_arg arg = {intern(t, a->key), a->text ? intern(t, a->text) : TEXT_NONE, a->number};
    text_add_bytes(&t->args, &arg, sizeof arg);
  }
}

void trace_add_value(trace *t, trace_track counter, i64 at_ns, double value) {
  require(is_track(t, counter, true) && at_ns >= 0);
  if (!within_budget(t)) return;
  const stored_value v = {counter, at_ns, value};
  text_add_bytes(&t->values, &v, sizeof v);
}

// ---- ordering

// One packet to be: `order` keeps what belongs together in its sequence at equal times.
typedef struct moment {
  i64 at_ns;
  u32 order, index; // index: into slices or values
  u32 type;         // EVENT_BEGIN, EVENT_END, EVENT_COUNTER
} moment;

typedef struct moments {
  moment *rows;
  u32 count;
} moments;

static int by_track_then_time(const void *pa, const void *pb) {
  const stored_slice *a = pa, *b = pb;
  if (a->track != b->track) return a->track < b->track ? -1 : 1;
  if (a->start_ns != b->start_ns) return a->start_ns < b->start_ns ? -1 : 1;
  if (a->end_ns != b->end_ns) return a->end_ns > b->end_ns ? -1 : 1; // the outer one first
  return a->order < b->order ? -1 : a->order > b->order;
}

static int by_time(const void *pa, const void *pb) {
  const moment *a = pa, *b = pb;
  if (a->at_ns != b->at_ns) return a->at_ns < b->at_ns ? -1 : 1;
  return a->order < b->order ? -1 : a->order > b->order;
}

static void add_moment(moments *m, i64 at_ns, u32 index, u32 type) {
  m->rows[m->count] = (moment){at_ns, m->count, index, type};
  m->count++;
}

// Walks one track's slices with the stack of the open ones; a slice that ends when the next starts is
// closed before it.
static u32 order_track(const stored_slice *s, u32 first, u32 count, u32 *stack, moments *m) {
  const u64 track = s[first].track;
  u32 depth = 0, i = first;
  for (; i < count && s[i].track == track; i++) {
    for (; depth && s[stack[depth - 1]].end_ns <= s[i].start_ns; depth--)
      add_moment(m, s[stack[depth - 1]].end_ns, stack[depth - 1], EVENT_END);
    require(!depth || s[i].end_ns <= s[stack[depth - 1]].end_ns); // slices nest or do not overlap
    add_moment(m, s[i].start_ns, i, EVENT_BEGIN);
    stack[depth++] = i;
  }
  for (; depth; depth--) add_moment(m, s[stack[depth - 1]].end_ns, stack[depth - 1], EVENT_END);
  return i;
}

static moments order_all(trace *t) {
  const u32 slices = count_of(&t->slices, sizeof(stored_slice));
  const u32 values = count_of(&t->values, sizeof(stored_value));
  moments m = {resize(NULL, sizeof(moment) * (2 * (size_t)slices + values + 1)), 0};
  u32 *stack = resize(NULL, sizeof *stack * ((size_t)slices + 1));
  if (slices) qsort(SLICES(t), slices, sizeof(stored_slice), by_track_then_time);
  for (u32 i = 0; i < slices;) i = order_track(SLICES(t), i, slices, stack, &m);
  for (u32 i = 0; i < values; i++) add_moment(&m, VALUES(t)[i].at_ns, i, EVENT_COUNTER);
  qsort(m.rows, m.count, sizeof(moment), by_time);
  free(stack);
  return m;
}

// ---- writing

typedef struct emitter {
  trace *t;
  status *st;
  text frame; // packets that wait to be compressed
  text packed;
  u8 *defined; // by word: its name was written
  size_t packet_start;
  bool started; // the first packet went out
  bool ok;
} emitter;

// Sends the first n bytes of the frame, whole packets, as one packet with a deflate frame. What is too
// large for a frame is one packet by itself, and goes as it is.
static void flush_frame(emitter *e, size_t n) {
  if (!n || !e->ok) return;
  text_clear(&e->packed);
  if (n > TRACE_FRAME_FILL) {
    text_add_bytes(&e->packed, e->frame.data, n);
  } else {
    uLongf packed_bytes = compressBound((uLong)n);
    Bytef *packed = resize(NULL, packed_bytes);
    require(compress2(packed, &packed_bytes, (const Bytef *)e->frame.data, (uLong)n, 6) == Z_OK);
    const size_t packet = pb_open(&e->packed, TRACE_PACKET);
    pb_put_bytes(&e->packed, PACKET_COMPRESSED, packed, packed_bytes);
    pb_close(&e->packed, packet);
    free(packed);
  }
  e->ok = file_put(&e->t->file, e->packed.data, e->packed.size, e->st);
  e->frame.size -= n;
  memmove(e->frame.data, e->frame.data + n, e->frame.size);
}

static size_t open_packet(emitter *e, bool uses_names) {
  e->packet_start = e->frame.size;
  const size_t packet = pb_open(&e->frame, TRACE_PACKET);
  const u64 flags = e->started ? 0 : SEQUENCE_STATE_CLEARED | SEQUENCE_NEEDS_STATE;
  pb_put_u64(&e->frame, PACKET_SEQUENCE_ID, TRACE_SEQUENCE);
  if (flags || uses_names) pb_put_u64(&e->frame, PACKET_SEQUENCE_FLAGS, flags ? flags : SEQUENCE_NEEDS_STATE);
  e->started = true;
  return packet;
}

// A packet that would carry the frame over its limit starts the next one.
static void close_packet(emitter *e, size_t packet) {
  pb_close(&e->frame, packet);
  if (e->frame.size > TRACE_FRAME_FILL) flush_frame(e, e->packet_start);
  if (e->frame.size > TRACE_FRAME_FILL) flush_frame(e, e->frame.size);
}

static void emit_track(emitter *e, u64 uuid, const stored_track *track) {
  const size_t packet = open_packet(e, false);
  const size_t body = pb_open(&e->frame, PACKET_TRACK_DESCRIPTOR);
  pb_put_u64(&e->frame, TRACK_UUID, uuid);
  pb_put_text(&e->frame, TRACK_NAME, track->name);
  if (track->parent) {
    pb_put_u64(&e->frame, TRACK_PARENT_UUID, track->parent);
    pb_put_u64(&e->frame, TRACK_ORDER_RANK, track->rank);
  }
  pb_put_u64(&e->frame, TRACK_MERGE_BEHAVIOR, MERGE_BEHAVIOR_NONE);
  if (track->unit) {
    const size_t counter = pb_open(&e->frame, TRACK_COUNTER);
    if (!strcmp(track->unit, "bytes"))
      pb_put_u64(&e->frame, COUNTER_UNIT, COUNTER_UNIT_BYTES);
    else if (track->unit[0])
      pb_put_text(&e->frame, COUNTER_UNIT_NAME, track->unit);
    pb_close(&e->frame, counter);
  } else {
    pb_put_u64(&e->frame, TRACK_CHILD_ORDERING, CHILD_ORDERING_EXPLICIT);
  }
  pb_close(&e->frame, body);
  close_packet(e, packet);
}

static void emit_tracks(emitter *e) {
  const stored_track root = {.name = TRACE_ROOT_NAME};
  emit_track(e, TRACE_ROOT_UUID, &root);
  const u32 count = count_of(&e->t->tracks, sizeof(stored_track));
  for (u32 i = 0; i < count; i++) emit_track(e, TRACE_ROOT_UUID + 1 + i, &TRACKS(e->t)[i]);
}

static void emit_arg(emitter *e, const stored_arg *a) {
  const char *const *words = e->t->words.words;
  const size_t body = pb_open(&e->frame, EVENT_DEBUG_ANNOTATION);
  pb_put_text(&e->frame, ANNOTATION_NAME, words[a->key]);
  if (a->word != TEXT_NONE)
    pb_put_text(&e->frame, ANNOTATION_TEXT, words[a->word]);
  else if (a->number == rint(a->number) && fabs(a->number) < 0x1p53)
    pb_put_u64(&e->frame, ANNOTATION_INT, (u64)(i64)a->number);
  else
    pb_put_double(&e->frame, ANNOTATION_DOUBLE, a->number);
  pb_close(&e->frame, body);
}

static void emit_name(emitter *e, u32 word) {
  if (e->defined[word]) return;
  e->defined[word] = 1;
  const size_t data = pb_open(&e->frame, PACKET_INTERNED_DATA);
  const size_t name = pb_open(&e->frame, INTERNED_EVENT_NAME);
  pb_put_u64(&e->frame, NAME_IID, (u64)word + 1);
  pb_put_text(&e->frame, NAME_TEXT, e->t->words.words[word]);
  pb_close(&e->frame, name);
  pb_close(&e->frame, data);
}

static void emit_slice(emitter *e, const moment *m) {
  const stored_slice *s = &SLICES(e->t)[m->index];
  const bool begins = m->type == EVENT_BEGIN;
  const size_t packet = open_packet(e, begins);
  pb_put_u64(&e->frame, PACKET_TIMESTAMP, (u64)m->at_ns);
  if (begins) emit_name(e, s->name);
  const size_t event = pb_open(&e->frame, PACKET_TRACK_EVENT);
  pb_put_u64(&e->frame, EVENT_TYPE, m->type);
  pb_put_u64(&e->frame, EVENT_TRACK_UUID, s->track);
  if (begins) pb_put_u64(&e->frame, EVENT_NAME_IID, (u64)s->name + 1);
  pb_put_text(&e->frame, EVENT_CATEGORY, e->t->words.words[s->category]);
  for (u32 i = 0; begins && i < s->arg_count; i++) emit_arg(e, &ARGS(e->t)[s->first_arg + i]);
  pb_close(&e->frame, event);
  close_packet(e, packet);
}

static void emit_value(emitter *e, const moment *m) {
  const stored_value *v = &VALUES(e->t)[m->index];
  const size_t packet = open_packet(e, false);
  pb_put_u64(&e->frame, PACKET_TIMESTAMP, (u64)m->at_ns);
  const size_t event = pb_open(&e->frame, PACKET_TRACK_EVENT);
  pb_put_u64(&e->frame, EVENT_TYPE, EVENT_COUNTER);
  pb_put_u64(&e->frame, EVENT_TRACK_UUID, v->track);
  pb_put_text(&e->frame, EVENT_CATEGORY, "weft");
  pb_put_double(&e->frame, EVENT_DOUBLE_COUNTER_VALUE, v->value);
  pb_close(&e->frame, event);
  close_packet(e, packet);
}

static void emit_count(emitter *e, const char *key, u64 count) {
  const size_t body = pb_open(&e->frame, EVENT_DEBUG_ANNOTATION);
  pb_put_text(&e->frame, ANNOTATION_NAME, key);
  pb_put_u64(&e->frame, ANNOTATION_UINT, count);
  pb_close(&e->frame, body);
}

// An instant on the root track: people see it at the end of the timeline, and trace_inspect compares.
static void emit_summary(emitter *e, i64 at_ns) {
  const trace *t = e->t;
  u32 counters = 0;
  const u32 tracks = count_of(&t->tracks, sizeof(stored_track));
  for (u32 i = 0; i < tracks; i++) counters += TRACKS(t)[i].unit != NULL;
  flush_frame(e, e->frame.size);
  const size_t packet = open_packet(e, false);
  pb_put_u64(&e->frame, PACKET_TIMESTAMP, (u64)at_ns);
  const size_t event = pb_open(&e->frame, PACKET_TRACK_EVENT);
  pb_put_u64(&e->frame, EVENT_TYPE, EVENT_INSTANT);
  pb_put_u64(&e->frame, EVENT_TRACK_UUID, TRACE_ROOT_UUID);
  pb_put_text(&e->frame, EVENT_CATEGORY, TRACE_SUMMARY_CATEGORY);
  pb_put_text(&e->frame, EVENT_NAME, t->budget_cut ? "end of trace (cut by its budget)" : "end of trace");
  emit_count(e, "slices", count_of(&t->slices, sizeof(stored_slice)));
  emit_count(e, "counter_values", count_of(&t->values, sizeof(stored_value)));
  emit_count(e, "tracks", tracks - counters);
  emit_count(e, "counters", counters);
  emit_count(e, "budget_cut", t->budget_cut);
  pb_close(&e->frame, event);
  pb_close(&e->frame, packet);
  if (e->ok) e->ok = file_put(&e->t->file, e->frame.data, e->frame.size, e->st);
}

bool trace_finish(trace *t, status *st) {
  emitter e = {.t = t, .st = st, .ok = true};
  moments m = order_all(t);
  e.defined = resize(NULL, (size_t)t->words.count + 1);
  memset(e.defined, 0, (size_t)t->words.count + 1);
  emit_tracks(&e);
  for (u32 i = 0; i < m.count && e.ok; i++) {
    if (m.rows[i].type == EVENT_COUNTER)
      emit_value(&e, &m.rows[i]);
    else
      emit_slice(&e, &m.rows[i]);
  }
  emit_summary(&e, m.count ? m.rows[m.count - 1].at_ns : 0);
  if (e.ok)
    e.ok = file_commit(&t->file, st);
  else
    file_abandon(&t->file);
  free(m.rows);
  free(e.defined);
  text_free(&e.frame);
  text_free(&e.packed);
  destroy(t);
  return e.ok;
}
