// Memory of the PEs between phases, and words at the ports.
#include "runtime/wafer.h"

#include "runtime/kernel_run.h"
#include "sim/fabric/number.h"

#include <string.h>

bool wafer_open(const woven *step, const machine *m, arena *a, wafer *ret_wafer, status *st) {
  *ret_wafer = (wafer){.step = step, .machine = m, .flip_at = UINT64_MAX};
  ret_wafer->host = arena_array(a, wafer_host, step->graph->tensor_count);
  ret_wafer->memory =
      arena_take_big(a, (size_t)step->width * step->height * step->data_bytes + 1, "the wafer's memory", st);
  return ret_wafer->memory != NULL;
}

static u8 *pe_memory(const wafer *w, u32 x, u32 y) {
  return w->memory + ((size_t)y * w->step->width + x) * w->step->data_bytes;
}

// ---- ports

static u32 encoded(float value, u8 type) {
  switch (type) {
  case DF_F16:
    return number_to_f16(value);
  case DF_BF16:
    return number_to_bf16(value);
  default:
    return number_bits(value);
  }
}

// Walks a stream's elements: to words, or adds words to the host's tensors.
static void walk(const wafer *w, const woven_stream *s, u32 *words, bool out) {
  size_t at = 0;
  for (u32 i = 0; i < s->segment_count; i++) {
    const woven_segment *g = &w->step->segments[s->first_segment + i];
    for (u64 n = 0; n < g->repeat; n++)
      for (u32 k = 0; k < g->item_count; k++) {
        const woven_item *item = &g->items[k];
        const wafer_host *host = &w->host[item->tensor];
        require(s->type == DF_I32 ? host->ids != NULL : host->values != NULL);
        for (u32 j = 0; j < item->count; j++, at++) {
          const u64 element = item->base + n * item->step + j * item->stride;
          if (out)
            host->values[element] += number_of_bits(words[at]);
          else
            words[at] = s->type == DF_I32 ? host->ids[element] : encoded(host->values[element], s->type);
        }
      }
  }
}

static void each_stream(wafer *w, fabric *f, const woven_phase *p, bool out) {
  arena *a = arena_create("stream");
  for (u32 i = 0; i < p->stream_count; i++) {
    const woven_stream *s = &w->step->streams[p->first_stream + i];
    const df_port *port = &p->flow.ports[s->port];
    if (port->out != out) continue;
    const arena_mark mark = arena_save(a);
    u32 *words = arena_array(a, u32, port->wavelets + 1);
    if (out) require(fabric_drain(f, s->port, words) == port->wavelets);
    walk(w, s, words, out);
    if (!out) fabric_feed(f, s->port, words);
    arena_rewind(a, mark);
  }
  arena_destroy(a);
}

// ---- a phase

static void exchange_memory(wafer *w, fabric *f, const dataflow *d, bool back) {
  for (u32 i = 0; i < d->region_count; i++) {
    const df_rect r = d->regions[i].rect;
    const u32 bytes = d->classes[d->regions[i].class].data_bytes;
    for (u32 k = 0; k < r.w * r.h; k++) {
      const u32 x = r.x + k % r.w * r.step_x, y = r.y + k / r.w * r.step_y;
      if (back)
        fabric_read(f, x, y, 0, pe_memory(w, x, y), bytes);
      else
        fabric_write(f, x, y, 0, pe_memory(w, x, y), bytes);
    }
  }
}

bool wafer_run(wafer *w, u32 phase, const fabric_options *o, u64 max_cycles, fabric_result *ret_result, status *st) {
  require(phase < w->step->phase_count);
  const woven_phase *p = &w->step->phases[phase];
  arena *a = arena_create("fabric"); // open seals it
  fabric *f = fabric_open(&p->flow, w->machine, o, a, st);
  bool ok = f != NULL;
  if (ok) {
    exchange_memory(w, f, &p->flow, false);
    each_stream(w, f, p, false);
    if (w->flip_at != UINT64_MAX) fabric_flip(f, w->flip_at, 26); // of an F32 the exponent
    w->flip_at = UINT64_MAX;
    ok = fabric_run(f, max_cycles, ret_result, st);
  }
  if (ok) {
    exchange_memory(w, f, &p->flow, true);
    each_stream(w, f, p, true);
  }
  arena_destroy(a);
  return ok;
}

// ---- tensors

bool wafer_holds(const wafer *w, u32 tensor) {
  const weave_place *p = &w->step->places[tensor];
  return p->placed && (!p->everywhere || p->axis.unit == w->step->graph->tensors[tensor].cols);
}

// The tokens of one feature in one PE, to or from [token][cols].
static void move_feature(const wafer *w, const weave_place *p, u32 tensor, float *values, bool write) {
  const u32 cols = w->step->graph->tensors[tensor].cols, size = df_type_bytes(p->type);
  const weave_tokens *t = &w->step->tokens;
  const u32 wide = p->axis.unit * p->axis.units;
  for (u32 y = 0; y < t->rows; y++) {
    const u32 first = weave_row_first(t, y), tokens = weave_row_tokens(t, y);
    for (u32 x = 0; x < (p->everywhere && !write ? 1 : w->step->width); x++) {
      const u32 tile = p->everywhere ? p->axis.unit : weave_tile(&p->axis, x),
                from = p->everywhere ? 0 : weave_first(&p->axis, x);
      for (u32 n = 0; n < p->blocks * tile; n++) {
        const u32 block = n / tile, feature = n % tile;
        u8 *at = pe_memory(w, x, y) + p->address + block * p->block_bytes + feature * p->pitch;
        for (u32 k = 0; k < tokens; k++, at += size) {
          float *value = &values[(size_t)(first + k) * cols + block * wide + from + feature];
          if (write)
            kernel_encode(p->type, value, 1, at);
          else
            kernel_decode(p->type, at, 1, value);
        }
      }
    }
  }
}

void wafer_write(wafer *w, u32 tensor, const float *values) {
  require(wafer_holds(w, tensor));
  move_feature(w, &w->step->places[tensor], tensor, (float *)values, true);
}

void wafer_read(const wafer *w, u32 tensor, float *ret_values) {
  require(wafer_holds(w, tensor));
  move_feature(w, &w->step->places[tensor], tensor, ret_values, false);
}
