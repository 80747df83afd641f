// Reads a trace back: walks its packets, compares what it counted with the summary, and adds up the time
// of slices. Trusts nothing in the file.
#include "traces/trace_walk.h"
#include "traces/protobuf.h"
#include "traces/trace_format.h"
#include "base/hash.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { ARGS_MAX = 64, INFLATED_MAX = 64 << 20 };

// ---- a table from one or two numbers to one number

typedef struct number_slot {
  u64 a, b, value;
  bool used;
} number_slot;
typedef struct number_table {
  number_slot *slots;
  u32 count, room;
} number_table;

static void *resize(void *memory, size_t bytes) {
  void *grown = realloc(memory, bytes);
  if (!grown) bug_fail(__FILE__, __LINE__, "out of memory for a trace");
  return grown;
}

static number_slot *number_find(const number_table *t, u64 a, u64 b) {
  u32 at = (u32)hash_u64(hash_u64(HASH_START, a), b) & (t->room - 1);
  while (t->slots[at].used && (t->slots[at].a != a || t->slots[at].b != b)) at = (at + 1) & (t->room - 1);
  return &t->slots[at];
}

// The slot of (a, b); when new its value is UINT64_MAX.
static number_slot *number_slot_of(number_table *t, u64 a, u64 b) {
  if (2 * t->count >= t->room) {
    number_table old = *t;
    t->room = old.room ? 2 * old.room : 64;
    t->slots = resize(NULL, sizeof *t->slots * t->room);
    memset(t->slots, 0, sizeof *t->slots * t->room);
    for (u32 i = 0; i < old.room; i++)
      if (old.slots[i].used) *number_find(t, old.slots[i].a, old.slots[i].b) = old.slots[i];
    free(old.slots);
  }
  number_slot *s = number_find(t, a, b);
  if (!s->used) {
    *s = (number_slot){a, b, UINT64_MAX, true};
    t->count++;
  }
  return s;
}

// ---- walking

typedef struct summary {
  bool seen;
  u64 slices, counter_values, tracks, counters, budget_cut;
} summary;

typedef struct walk {
  const char *path;
  const trace_walker *walker;
  arena *memory;
  status *st;
  trace_info info;
  summary end;
  bool short_file; // the bytes stop inside a packet
  bool any_time;
  u64 ends;           // slice ends
  const char **words; // distinct words, by number
  u32 word_count, word_room;
  number_table word_of_hash; // (hash, length) -> word
  number_table name_of_iid;  // (sequence, iid) -> word
} walk;

static bool damaged(walk *w, const char *what) {
  return status_fail(w->st, CODE_DATA, "%s: the trace is damaged (%s); record it again", w->path, what);
}

static u32 add_word(walk *w, const u8 *bytes, size_t n) {
  if (w->word_count == w->word_room) {
    w->word_room = w->word_room ? 2 * w->word_room : 64;
    w->words = resize(w->words, sizeof *w->words * w->word_room);
  }
  char *word = arena_take(w->memory, n + 1);
  if (n) memcpy(word, bytes, n);
  w->words[w->word_count] = word;
  return w->word_count++;
}

// One copy per distinct word, however often it comes. Words are told apart by a 64-bit hash and their
// length first, by their bytes in the end.
static u32 intern(walk *w, const pb_field *f) {
  number_slot *s = number_slot_of(&w->word_of_hash, hash_bytes(HASH_START, f->bytes, f->size), f->size);
  if (s->value != UINT64_MAX && !memcmp(w->words[s->value], f->bytes, f->size)) return (u32)s->value;
  const u32 word = add_word(w, f->bytes, f->size);
  s->value = word;
  return word;
}

static const char *word_text(walk *w, const pb_field *f) {
  const u32 word = intern(w, f); // may move w->words
  return w->words[word];
}

static bool read_track(walk *w, const pb_field *body) {
  pb_reader r = pb_read(body->bytes, body->size);
  pb_field f;
  trace_seen_track t = {.name = ""};
  while (pb_next(&r, &f)) {
    if (f.number == TRACK_UUID && f.wire == PB_VARINT) t.uuid = f.value;
    if (f.number == TRACK_PARENT_UUID && f.wire == PB_VARINT) t.parent = f.value;
    if (f.number == TRACK_NAME && f.wire == PB_BYTES) t.name = word_text(w, &f);
    if (f.number != TRACK_COUNTER || f.wire != PB_BYTES) continue;
    pb_reader inner = pb_read(f.bytes, f.size);
    pb_field g;
    t.unit = "";
    while (pb_next(&inner, &g)) {
      if (g.number == COUNTER_UNIT_NAME && g.wire == PB_BYTES) t.unit = word_text(w, &g);
      if (g.number == COUNTER_UNIT && g.value == COUNTER_UNIT_BYTES) t.unit = "bytes";
    }
    if (inner.bad) return damaged(w, "a counter cannot be read");
  }
  if (r.bad) return damaged(w, "a track cannot be read");
  if (t.uuid == TRACE_ROOT_UUID && !t.parent && !strcmp(t.name, TRACE_ROOT_NAME)) return true;
  if (t.parent == TRACE_ROOT_UUID) t.parent = 0;
  if (t.unit)
    w->info.counters++;
  else
    w->info.tracks++;
  if (w->walker->track) w->walker->track(w->walker->user, &t);
  return true;
}

static bool read_names(walk *w, const pb_field *body, u64 sequence) {
  pb_reader r = pb_read(body->bytes, body->size);
  pb_field f;
  while (pb_next(&r, &f)) {
    if (f.number != INTERNED_EVENT_NAME || f.wire != PB_BYTES) continue;
    pb_reader inner = pb_read(f.bytes, f.size);
    pb_field g;
    u64 iid = 0;
    pb_field name = {.bytes = f.bytes};
    while (pb_next(&inner, &g)) {
      if (g.number == NAME_IID && g.wire == PB_VARINT) iid = g.value;
      if (g.number == NAME_TEXT && g.wire == PB_BYTES) name = g;
    }
    if (inner.bad) return damaged(w, "a name cannot be read");
    const u32 word = intern(w, &name);
    number_slot_of(&w->name_of_iid, sequence, iid)->value = word;
  }
  return !r.bad || damaged(w, "names cannot be read");
}

static bool read_arg(walk *w, const pb_field *body, trace_arg *arg) {
  pb_reader r = pb_read(body->bytes, body->size);
  pb_field f;
  *arg = (trace_arg){.key = ""};
  while (pb_next(&r, &f)) {
    if (f.number == ANNOTATION_NAME && f.wire == PB_BYTES) arg->key = word_text(w, &f);
    if (f.number == ANNOTATION_TEXT && f.wire == PB_BYTES) arg->text = word_text(w, &f);
    if (f.number == ANNOTATION_UINT && f.wire == PB_VARINT) arg->number = (double)f.value;
    if (f.number == ANNOTATION_INT && f.wire == PB_VARINT) arg->number = (double)(i64)f.value;
    if (f.number == ANNOTATION_DOUBLE && f.wire == PB_FIXED64) arg->number = pb_double(&f);
  }
  return !r.bad || damaged(w, "an argument cannot be read");
}

// A track event as it stands in its packet.
typedef struct raw_event {
  u64 type, iid;
  trace_event e;
  trace_arg args[ARGS_MAX];
} raw_event;

static bool read_event_fields(walk *w, const pb_field *body, raw_event *raw) {
  pb_reader r = pb_read(body->bytes, body->size);
  pb_field f;
  bool ok = true;
  raw->e = (trace_event){.name = "", .category = "", .args = raw->args};
  while (ok && pb_next(&r, &f)) {
    switch (f.number) {
    case EVENT_TYPE:
      raw->type = f.value;
      break;
    case EVENT_TRACK_UUID:
      raw->e.track = f.value;
      break;
    case EVENT_NAME_IID:
      raw->iid = f.value;
      break;
    case EVENT_COUNTER_VALUE:
      raw->e.value = (double)(i64)f.value;
      break;
    case EVENT_DOUBLE_COUNTER_VALUE:
      raw->e.value = pb_double(&f);
      break;
    case EVENT_CATEGORY:
      if (f.wire == PB_BYTES) raw->e.category = word_text(w, &f);
      break;
    case EVENT_NAME:
      if (f.wire == PB_BYTES) raw->e.name = word_text(w, &f);
      break;
    case EVENT_DEBUG_ANNOTATION:
      if (f.wire == PB_BYTES && raw->e.arg_count < ARGS_MAX) ok = read_arg(w, &f, &raw->args[raw->e.arg_count++]);
      break;
    default:
      break;
    }
  }
  return ok && (!r.bad || damaged(w, "an event cannot be read"));
}

static void keep_summary(walk *w, const trace_event *e) {
  summary s = {.seen = true};
  for (u32 i = 0; i < e->arg_count; i++) {
    const u64 count = e->args[i].number >= 0 ? (u64)e->args[i].number : 0;
    if (!strcmp(e->args[i].key, "slices")) s.slices = count;
    if (!strcmp(e->args[i].key, "counter_values")) s.counter_values = count;
    if (!strcmp(e->args[i].key, "tracks")) s.tracks = count;
    if (!strcmp(e->args[i].key, "counters")) s.counters = count;
    if (!strcmp(e->args[i].key, "budget_cut")) s.budget_cut = count;
  }
  w->end = s;
}

static void keep_time(walk *w, i64 at_ns) {
  if (!w->any_time || at_ns < w->info.first_ns) w->info.first_ns = at_ns;
  if (!w->any_time || at_ns > w->info.last_ns) w->info.last_ns = at_ns;
  w->any_time = true;
}

static bool show_event(walk *w, raw_event *raw, u64 sequence) {
  static const trace_event_kind kinds[] = {0, TRACE_EVENT_BEGIN, TRACE_EVENT_END, TRACE_EVENT_INSTANT,
                                           TRACE_EVENT_VALUE};
  trace_event *e = &raw->e;
  w->end.seen = false; // the summary is the last of all
  if (raw->type == EVENT_INSTANT && !strcmp(e->category, TRACE_SUMMARY_CATEGORY)) {
    keep_summary(w, e);
    return true;
  }
  if (raw->type < EVENT_BEGIN || raw->type > EVENT_COUNTER) return true; // of another program
  if (raw->iid) {
    const u64 word = number_slot_of(&w->name_of_iid, sequence, raw->iid)->value;
    if (word == UINT64_MAX) return damaged(w, "an event's name is not defined before it");
    e->name = w->words[word];
  }
  e->kind = kinds[raw->type];
  w->info.slices += e->kind == TRACE_EVENT_BEGIN;
  w->ends += e->kind == TRACE_EVENT_END;
  w->info.counter_values += e->kind == TRACE_EVENT_VALUE;
  keep_time(w, e->at_ns);
  if (w->walker->event) w->walker->event(w->walker->user, e);
  return true;
}

static void forget_names(walk *w, u64 sequence) {
  for (u32 i = 0; i < w->name_of_iid.room; i++)
    if (w->name_of_iid.slots[i].a == sequence) w->name_of_iid.slots[i].value = UINT64_MAX;
}

// Fields may come in any order, so the parts are gathered before any is used.
static bool read_packet(walk *w, const pb_field *packet) {
  pb_reader r = pb_read(packet->bytes, packet->size);
  pb_field f, event = {0}, names = {0}, track = {0};
  u64 at = 0, sequence = 0, flags = 0;
  while (pb_next(&r, &f)) {
    if (f.number == PACKET_TIMESTAMP) at = f.value;
    if (f.number == PACKET_SEQUENCE_ID) sequence = f.value;
    if (f.number == PACKET_SEQUENCE_FLAGS) flags = f.value;
    if (f.wire != PB_BYTES) continue;
    if (f.number == PACKET_TRACK_EVENT) event = f;
    if (f.number == PACKET_INTERNED_DATA) names = f;
    if (f.number == PACKET_TRACK_DESCRIPTOR) track = f;
  }
  if (r.bad) return damaged(w, "a packet cannot be read");
  w->info.packets++;
  if (flags & SEQUENCE_STATE_CLEARED) forget_names(w, sequence);
  if (track.bytes && !read_track(w, &track)) return false;
  if (names.bytes && !read_names(w, &names, sequence)) return false;
  if (!event.bytes) return true;
  raw_event raw;
  raw.type = raw.iid = 0;
  if (!read_event_fields(w, &event, &raw)) return false;
  raw.e.at_ns = (i64)at;
  return show_event(w, &raw, sequence);
}

// NULL when the bytes are no deflate frame, or one of an absurd size.
static u8 *unpack(const pb_field *f, size_t *ret_size) {
  size_t room = 1 << 20;
  u8 *out = NULL;
  for (; room <= INFLATED_MAX; room *= 2) {
    out = resize(out, room);
    uLongf size = (uLongf)room;
    const int code = uncompress(out, &size, f->bytes, (uLong)f->size);
    *ret_size = size;
    if (code == Z_OK) return out;
    if (code != Z_BUF_ERROR) break;
  }
  free(out);
  return NULL;
}

// Packets of the file itself (depth 0) or of a deflate frame in it.
static bool read_packets(walk *w, const void *bytes, size_t n, u32 depth) {
  pb_reader r = pb_read(bytes, n);
  pb_field packet, f;
  bool ok = true;
  while (ok && pb_next(&r, &packet)) {
    if (packet.number != TRACE_PACKET || packet.wire != PB_BYTES)
      return status_fail(w->st, CODE_DATA, "%s: is not a Perfetto trace", w->path);
    pb_reader first = pb_read(packet.bytes, packet.size);
    if (!pb_next(&first, &f) || f.number != PACKET_COMPRESSED || f.wire != PB_BYTES) {
      ok = read_packet(w, &packet);
      continue;
    }
    size_t size = 0;
    u8 *inner = depth ? NULL : unpack(&f, &size);
    ok = inner ? read_packets(w, inner, size, depth + 1) : damaged(w, "a compressed frame cannot be read");
    free(inner);
  }
  if (ok && r.bad && depth) return damaged(w, "a compressed frame ends inside a packet");
  w->short_file = ok && r.bad;
  return ok;
}

static bool is_complete(const walk *w) {
  const summary *s = &w->end;
  return !w->short_file && s->seen && s->slices == w->info.slices && w->ends == w->info.slices &&
         s->counter_values == w->info.counter_values && s->tracks == w->info.tracks && s->counters == w->info.counters;
}

bool trace_walk(const char *path, const trace_walker *walker, arena *a, trace_info *ret_info, status *st) {
  const void *data = NULL;
  size_t size = 0;
  if (!file_map(path, &data, &size, st)) return false;
  walk w = {.path = path, .walker = walker, .memory = a, .st = st};
  bool ok = read_packets(&w, data, size, 0);
  // A wrong first byte looks like a short file otherwise: every trace starts with a packet.
  if (ok && size && *(const u8 *)data != (TRACE_PACKET << 3 | PB_BYTES))
    ok = status_fail(st, CODE_DATA, "%s: is not a Perfetto trace", path);
  file_unmap(data, size);
  if (ok) {
    w.info.truncated = !is_complete(&w);
    w.info.budget_cut = w.end.seen && w.end.budget_cut;
    *ret_info = w.info;
  }
  free(w.words);
  free(w.word_of_hash.slots);
  free(w.name_of_iid.slots);
  return ok;
}

bool trace_inspect(const char *path, trace_info *ret_info, status *st) {
  arena *a = arena_create("trace reader");
  const trace_walker nobody = {0};
  const bool ok = trace_walk(path, &nobody, a, ret_info, st);
  arena_destroy(a);
  return ok;
}

// ---- totals

typedef struct open_slice {
  u64 row; // of totals
  i64 start_ns;
} open_slice;

typedef struct seen_track {
  const char *path; // names from the root, with slashes between
  open_slice *stack;
  u32 depth, room;
} seen_track;

typedef struct totals {
  arena *memory;
  number_table track_of; // uuid -> tracks
  seen_track *tracks;
  u32 track_count, track_room;
  number_table row_of; // (uuid, address of the name: names are interned) -> rows
  trace_total *rows;
  u32 row_count, row_room;
} totals;

static seen_track *track_of(totals *t, u64 uuid) {
  number_slot *s = number_slot_of(&t->track_of, uuid, 0);
  if (s->value != UINT64_MAX) return &t->tracks[s->value];
  if (t->track_count == t->track_room) {
    t->track_room = t->track_room ? 2 * t->track_room : 64;
    t->tracks = resize(t->tracks, sizeof *t->tracks * t->track_room);
  }
  s->value = t->track_count;
  t->tracks[t->track_count] = (seen_track){.path = ""};
  return &t->tracks[t->track_count++];
}

static void totals_track(void *user, const trace_seen_track *seen) {
  totals *t = user;
  const char *above = seen->parent ? track_of(t, seen->parent)->path : "";
  seen_track *track = track_of(t, seen->uuid);
  track->path = above[0] ? arena_format(t->memory, "%s/%s", above, seen->name) : seen->name;
}

static u64 row_of(totals *t, u64 track, const char *path, const char *name) {
  number_slot *s = number_slot_of(&t->row_of, track, (u64)(uintptr_t)name);
  if (s->value != UINT64_MAX) return s->value;
  if (t->row_count == t->row_room) {
    t->row_room = t->row_room ? 2 * t->row_room : 64;
    t->rows = resize(t->rows, sizeof *t->rows * t->row_room);
  }
  t->rows[t->row_count] = (trace_total){.track = path, .name = name};
  s->value = t->row_count;
  return t->row_count++;
}

static void totals_event(void *user, const trace_event *e) {
  totals *t = user;
  seen_track *track = track_of(t, e->track);
  if (e->kind == TRACE_EVENT_BEGIN) {
    if (track->depth == track->room) {
      track->room = track->room ? 2 * track->room : 8;
      track->stack = resize(track->stack, sizeof *track->stack * track->room);
    }
    track->stack[track->depth++] = (open_slice){row_of(t, e->track, track->path, e->name), e->at_ns};
  }
  if (e->kind != TRACE_EVENT_END || !track->depth) return;
  const open_slice *s = &track->stack[--track->depth];
  trace_total *row = &t->rows[s->row];
  const double ns = (double)(e->at_ns - s->start_ns);
  row->count++;
  row->total_ns += ns;
  if (ns > row->longest_ns) row->longest_ns = ns;
}

static int by_total(const void *pa, const void *pb) {
  const trace_total *a = pa, *b = pb;
  if (a->total_ns != b->total_ns) return a->total_ns > b->total_ns ? -1 : 1;
  const int tracks = strcmp(a->track, b->track);
  return tracks ? tracks : strcmp(a->name, b->name);
}

bool trace_totals(const char *path, arena *a, const trace_total **ret_rows, u32 *ret_count, status *st) {
  totals t = {.memory = a};
  trace_info info;
  const trace_walker walker = {totals_track, totals_event, &t};
  const bool ok = trace_walk(path, &walker, a, &info, st);
  if (ok) {
    if (t.row_count) qsort(t.rows, t.row_count, sizeof *t.rows, by_total);
    trace_total *rows = arena_array(a, trace_total, t.row_count + 1);
    if (t.row_count) memcpy(rows, t.rows, sizeof *rows * t.row_count);
    *ret_rows = rows;
    *ret_count = t.row_count;
  }
  for (u32 i = 0; i < t.track_count; i++) free(t.tracks[i].stack);
  free(t.tracks);
  free(t.rows);
  free(t.track_of.slots);
  free(t.row_of.slots);
  return ok;
}
