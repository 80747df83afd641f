// The table of kernels, and what they share.
#include "mapper/kernel_parts.h"

#include "base/random.h"

#include <string.h>

// Far beyond any machine; what does not fit the one at hand is dataflow_check's to say.
enum { TILE_MAX = 4096, WORDS_MAX = 1 << 20, PES_MAX = 1 << 24, VALUES_MAX = 1 << 28 };

typedef struct kernel_row {
  kernel_facts facts;
  kernel_function *build;
} kernel_row;

static const kernel_row rows[] = {
    {{"p2p", "from corner to corner: one word and a task for it, or a stream", "", "grid words", 2, 1, 1, 1, 1},
     kernel_p2p},
    {{"dsd", "one vector instruction in the memory of each PE", "copy|fma", "grid words repeat", 1, 1, 1024, 1, 1},
     kernel_dsd},
    {{"task", "a data task for every wavelet of a stream from the host", "", "grid words", 1, 1, 256, 1, 1},
     kernel_task},
    {{"broadcast", "from corner (0, 0) to every PE", "", "grid words", 8, 8, 256, 1, 1}, kernel_broadcast},
    {{"reduce", "the sum along every line of PEs, at its first", "chain|star|tree|two-phase", "grid words", 16, 1, 256,
      1, 1},
     kernel_reduce},
    {{"allreduce", "the sum along every line of PEs, at all of them, by a folded ring", "", "grid words", 16, 1, 256, 1,
      1},
     kernel_allreduce},
    {{"matvec", "a tile times a vector, on each PE by itself", "", "grid tile repeat", 1, 1, 1, 32, 1}, kernel_matvec},
    {{"summa", "the product of two matrices, a tile per PE", "", "grid tile", 8, 8, 1, 8, 1}, kernel_summa},
};

u32 kernel_count(void) {
  return COUNT_OF(rows);
}

const kernel_facts *kernel_get(u32 index) {
  require(index < COUNT_OF(rows));
  return &rows[index].facts;
}

static const kernel_row *find(const char *name) {
  for (u32 i = 0; i < COUNT_OF(rows); i++)
    if (strcmp(rows[i].facts.name, name) == 0) return &rows[i];
  return NULL;
}

void kernel_fail_name(const char *name, const char *const *names, u32 count, status *st) {
  text known = {0};
  for (u32 i = 0; i < count; i++) text_format(&known, "%s%s", i ? ", " : "", names[i]);
  const char *near = text_nearest(name, names, count);
  status_fail(st, CODE_USAGE, "there is no kernel \"%.40s\"%s%s%s; there are %s", name, near ? ", did you mean \"" : "",
              near ? near : "", near ? "\"?" : "", text_get(&known));
  text_free(&known);
}

const kernel_facts *kernel_find(const char *name) {
  const kernel_row *row = find(name);
  return row ? &row->facts : NULL;
}

static bool refuse_name(const char *name, status *st) {
  const char *names[COUNT_OF(rows)];
  for (u32 i = 0; i < COUNT_OF(rows); i++) names[i] = rows[i].facts.name;
  kernel_fail_name(name, names, COUNT_OF(rows), st);
  return false;
}

bool kernel_is_choice(const char *choices, const char *word) {
  size_t n = strlen(word);
  for (const char *p = choices; *p;) {
    size_t length = strcspn(p, "|");
    if (length == n && strncmp(p, word, n) == 0) return true;
    p += length + (p[length] == '|');
  }
  return false;
}

bool kernel_pattern_is(const kernel_request *r, const char *pattern) {
  if (r->pattern) return strcmp(r->pattern, pattern) == 0;
  const char *all = find(r->name)->facts.patterns;
  size_t n = strcspn(all, "|");
  return strlen(pattern) == n && strncmp(all, pattern, n) == 0;
}

bool kernel_build(const kernel_request *r, arena *a, kernel_case *ret_case, status *st) {
  const kernel_row *row = find(r->name);
  if (!row) return refuse_name(r->name, st);
  if (r->pattern && !kernel_is_choice(row->facts.patterns, r->pattern))
    return status_fail(st, CODE_USAGE, "kernel %s: there is no pattern \"%.40s\"%s%s", r->name, r->pattern,
                       *row->facts.patterns ? "; there are " : "", row->facts.patterns);
  if (r->type != DF_F32 && r->type != DF_F16 && r->type != DF_BF16)
    return status_fail(st, CODE_USAGE, "kernel %s: values are f32, f16 or bf16", r->name);
  if (!r->width || !r->height || !r->tile || !r->words || !r->repeat)
    return status_fail(st, CODE_USAGE, "kernel %s: grid, tile, words and repeat are at least 1", r->name);
  u64 pes = (u64)r->width * r->height, each = r->words > r->tile * r->tile ? r->words : r->tile * r->tile;
  bool whole = r->extent != KERNEL_PROGRAM_ONLY;
  if (r->tile > TILE_MAX || r->words > WORDS_MAX || pes > PES_MAX || (whole && pes * each > VALUES_MAX))
    return status_fail(st, CODE_CONFIG, "kernel %s: no PE and no wafer holds that much", r->name);
  kernel_case k = {.rate_unit = "cycles"};
  if (!row->build(r, a, &k, st)) return false;
  *ret_case = k;
  return true;
}

double kernel_rate(const kernel_case *k, double cycles) {
  return k->cycles_per_work ? cycles / k->work : k->work / cycles;
}

// ---- values

float kernel_value(const kernel_request *r, u32 tag, u64 index) {
  if (r->random) return (float)((i32)random_below(r->seed, RANDOM_TEST, tag, index, 256) - 128) / 128;
  u64 h = (index + 1) * 0x9e3779b97f4a7c15ull + (u64)tag * 0xd1b54a32d192ed03ull;
  h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9ull >> 33;
  return r->type == DF_F32 ? (float)(h % 7) - 3 : (float)(h % 3) - 1; // bf16 holds integers up to 256
}

static size_t symbol_values(const kernel_case *k, u32 symbol) {
  const df_symbol *s = &k->program.symbols[symbol];
  return (size_t)s->rect.w * s->rect.h * s->count;
}

float *kernel_fill(const kernel_request *r, arena *a, kernel_case *k, u32 symbol) {
  require(k->input_count < KERNEL_INPUTS_MAX);
  size_t n = symbol_values(k, symbol);
  float *values = arena_array(a, float, n);
  for (size_t i = 0; i < n; i++) values[i] = kernel_value(r, symbol, i);
  k->inputs[k->input_count++] = (kernel_values){symbol, values};
  return values;
}

float *kernel_expect(arena *a, kernel_case *k, u32 symbol) {
  k->result = (kernel_values){symbol, arena_array(a, float, symbol_values(k, symbol))};
  k->checked = true;
  return k->result.values;
}

void kernel_tolerate(const kernel_request *r, kernel_case *k, double terms, double magnitude) {
  static const double unit[] = {[DF_F32] = 0x1p-24, [DF_F16] = 0x1p-11, [DF_BF16] = 0x1p-8};
  // products and sums round once each: the usual first-order bound
  k->tolerance = r->random ? 2 * terms * unit[r->type] * magnitude : 0;
}

u32 kernel_symbol(const kernel_case *k, const char *name) {
  u32 i = 0;
  while (i < k->program.symbol_count && strcmp(k->program.symbols[i].name, name) != 0) i++;
  require(i < k->program.symbol_count);
  return i;
}

// ---- lines

line line_of(const kernel_request *r) {
  bool down = r->width == 1;
  return (line){down, down ? r->height : r->width, down ? 1 : r->height};
}

df_rect line_rect(const line *l, run at) {
  return l->down ? (df_rect){0, at.first, 1, at.n, 1, at.step} : (df_rect){at.first, 0, at.n, l->count, at.step, 1};
}

void line_region(df_builder *b, const line *l, run at, const char *class_name) {
  if (at.n) df_build_region(b, line_rect(l, at), class_name);
}

void line_route(df_builder *b, const line *l, run at, u32 color, u32 rx_tx[2]) {
  if (at.n) df_build_route(b, line_rect(l, at), color, rx_tx[0], rx_tx[1]);
}

void line_route_gaps(df_builder *b, const line *l, run at, u32 gap, u32 color, u32 rx_tx[2]) {
  if (gap <= at.n) { // the fewer rectangles
    for (u32 i = 0; i < gap; i++) line_route(b, l, (run){at.first + i, at.n, at.step}, color, rx_tx);
    return;
  }
  for (u32 i = 0; i < at.n; i++) line_route(b, l, (run){at.first + i * at.step, gap, 1}, color, rx_tx);
}
