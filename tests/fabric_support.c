// Programs on the desk, and runs of a dataflow whose outcome can be compared.
#include "tests/fabric_support.h"

#include "base/hash.h"

#include <string.h>

static u64 hash_state(const fabric *f, const dataflow *d) {
  arena *a = arena_create("state");
  u64 h = HASH_START;
  for (u32 i = 0; i < d->region_count; i++) {
    const df_region *r = &d->regions[i];
    u32 bytes = d->classes[r->class].data_bytes;
    u8 *memory = arena_take(a, bytes + 1);
    for (u32 k = 0; k < r->rect.w * r->rect.h; k++) {
      fabric_read(f, r->rect.x + k % r->rect.w * r->rect.step_x, r->rect.y + k / r->rect.w * r->rect.step_y, 0, memory, bytes);
      h = hash_bytes(h, memory, bytes);
    }
  }
  for (u32 i = 0; i < d->port_count; i++) {
    if (!d->ports[i].out) continue;
    u32 *words = arena_array(a, u32, d->ports[i].wavelets + 1);
    h = hash_bytes(h, words, fabric_drain(f, i, words) * sizeof *words);
  }
  arena_destroy(a);
  return h;
}

// What holds for every log.
static void check_entry(const fabric_watch *w, const fabric_entry *e) {
  assert_in_range(e->cycle, w->from, w->until - 1);
  assert_true(e->x - w->x < w->w && e->y - w->y < w->h && e->since <= e->cycle);
  if (e->kind == FABRIC_PASSES) assert_true(e->out && e->in && !(e->in & (e->in - 1)) && !(e->in & e->out));
}

static void read_log(const fabric *f, const fabric_watch *w, fabric_outcome *o) {
  u64 left_out;
  const fabric_entry *log = fabric_log(f, &o->entries, &left_out);
  o->left_out = (u32)left_out;
  o->log = HASH_START;
  for (u32 i = 0; i < o->entries; i++) {
    check_entry(w, &log[i]);
    assert_true(!i || log[i - 1].cycle <= log[i].cycle);
    o->log = hash_bytes(o->log, &log[i], sizeof log[i]);
  }
}

// What a router had to do adds up to what all did.
static u64 hash_load(const fabric_load *load, u32 pes, const fabric_result *r) {
  u64 hops = 0, busy = 0;
  for (u32 i = 0; i < pes; i++) {
    hops += load->hops[i];
    busy = load->busy[i] > busy ? load->busy[i] : busy;
  }
  assert_true(hops == r->counts.hops);
  assert_true(busy == (r->busy < r->cycles ? r->busy : r->cycles));
  return hash_bytes(hash_bytes(HASH_START, load->hops, pes * sizeof(u64)), load->busy, pes * sizeof(u64));
}

fabric_outcome fabric_try(const dataflow *d, const machine *m, const fabric_how *how) {
  fabric_outcome o;
  memset(&o, 0, sizeof o);
  arena *a = arena_create("fabric");
  arena *loads = arena_create("load");
  const u32 pes = d->width * d->height;
  const fabric_load load = {arena_array(loads, u64, pes), arena_array(loads, u64, pes)};
  fabric_options options = how->options;
  options.load = &load;
  fabric *f = fabric_open(d, m, &options, a, &o.st);
  if (!f) fail_msg("%s", o.st.text);
  if (how->before) how->before(f, how->of);
  size_t taken = arena_bytes(a);
  o.ok = fabric_run(f, how->max_cycles ? how->max_cycles : 1000000, &o.result, &o.st);
  assert_int_equal(o.ok, status_ok(&o.st));
  assert_int_equal(arena_bytes(a), taken);
  if (how->after) how->after(f, how->of);
  o.state = hash_state(f, d);
  if (how->options.watch) read_log(f, how->options.watch, &o);
  o.load = hash_load(&load, pes, &o.result);
  arena_destroy(loads);
  arena_destroy(a);
  return o;
}

void fabric_same(const fabric_outcome *a, const fabric_outcome *b, const char *what, u64 seed) {
  const fabric_result *x = &a->result, *y = &b->result;
  if (strcmp(a->st.text, b->st.text))
    fail_msg("%s, seed %llu: \"%s\" and \"%s\"", what, (unsigned long long)seed, a->st.text, b->st.text);
  if (x->cycles != y->cycles || memcmp(&x->counts, &y->counts, sizeof x->counts) || x->received != y->received || a->state != b->state || a->load != b->load)
    fail_msg("%s, seed %llu: cycles %llu and %llu, hops %llu and %llu, received %llu and %llu, wavelets %llu and %llu, state %llx and %llx", what,
             (unsigned long long)seed, (unsigned long long)x->cycles, (unsigned long long)y->cycles,
             (unsigned long long)x->counts.hops, (unsigned long long)y->counts.hops, (unsigned long long)x->received,
             (unsigned long long)y->received, (unsigned long long)x->counts.wavelets, (unsigned long long)y->counts.wavelets,
             (unsigned long long)a->state, (unsigned long long)b->state);
  if (memcmp(&x->entered, &y->entered, sizeof x->entered) || memcmp(&x->sent, &y->sent, sizeof x->sent) ||
      memcmp(&x->left, &y->left, sizeof x->left))
    fail_msg("%s, seed %llu: wavelets come and go at other times", what, (unsigned long long)seed);
}

// ---- a program on the desk

desk desk_begin(const char *preset, const char *changes, u32 w, u32 h) {
  desk k = {.memory = arena_create("program"), .engine = arena_create("engine"), .m = sim_machine(preset, changes)};
  k.b = df_build_begin(k.memory, "test", w, h);
  return k;
}

void desk_open(desk *k) {
  df_build_finish(k->b, &k->d);
  k->f = fabric_open(&k->d, &k->m, NULL, k->engine, &k->st);
  if (!k->f) fail_msg("%s", k->st.text);
}

bool desk_run(desk *k, u64 most) { return fabric_run(k->f, most, &k->result, &k->st); }

void desk_run_well(desk *k) { support_ok(desk_run(k, 1000000), &k->st); }

void desk_end(desk *k) {
  arena_destroy(k->memory);
  arena_destroy(k->engine);
}

u32 desk_word(const desk *k, u32 x, u32 y, u32 address) {
  u32 word;
  fabric_read(k->f, x, y, address, &word, 4);
  return word;
}

void desk_expect(const desk *k, u32 x, u32 y, u32 address, const u32 *words, u32 n) {
  for (u32 i = 0; i < n; i++) assert_int_equal(desk_word(k, x, y, address + 4 * i), words[i]);
}

void desk_active_task(df_builder *b, const char *name) {
  df_build_task(b, name);
  df_build_start_active(b);
}
