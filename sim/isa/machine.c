// The machine's field table, the numbers that follow from it, and its presets.
#include "sim/isa/machine.h"

#include "base/embed.h"
#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ROW(...) FIELD_ROW(machine_spec, __VA_ARGS__)
static const field rows[] = {MACHINE_FIELDS(ROW)};
const field_table machine_table = {
    "machine", "The wafer that the step is modelled on. Numbers come from a preset, each with its source.", rows,
    COUNT_OF(rows), sizeof(machine_spec)};

enum { WAVELET_BITS = 32 };
static const char preset_folder[] = "presets/machines/";
static const char preset_suffix[] = ".yaml";

bool machine_build(const machine_spec *spec, machine *ret_machine, status *st) {
  machine m = {.spec = *spec};
  m.pes_usable = spec->usable_width * spec->usable_height;
  double feed = fmin(spec->io_bits_per_s, spec->memoryx_bits_per_s);
  m.io_wavelets_per_cycle = feed / WAVELET_BITS / spec->clock_hz;
  double fabric_pes = (double)spec->fabric_width * spec->fabric_height;
  m.peak_flops = fabric_pes * spec->lanes_fp16 * 2 * spec->clock_hz;
  if (!machine_check(&m, st)) return false;
  *ret_machine = m;
  return true;
}

bool machine_check(const machine *m, status *st) {
  const machine_spec *s = &m->spec;
  if (s->usable_width > s->fabric_width || s->usable_height > s->fabric_height)
    return status_fail(st, CODE_CONFIG,
                       "machine.fabric: a usable rectangle of %u x %u does not lie inside the fabric of %u x %u; "
                       "lower fabric.usable_width or fabric.usable_height",
                       s->usable_width, s->usable_height, s->fabric_width, s->fabric_height);
  if (s->code_base_bytes >= s->sram_bytes)
    return status_fail(st, CODE_CONFIG, "machine.pe: code_base_bytes of %u leaves nothing of sram_bytes %u for data",
                       s->code_base_bytes, s->sram_bytes);
  if (s->fma16_rate > s->lanes_fp16 || s->dot16_rate > s->lanes_fp16)
    return status_fail(st, CODE_CONFIG, "machine.dsd: %g multiply-adds per cycle exceed pe.lanes_fp16 = %u",
                       fmax(s->fma16_rate, s->dot16_rate), s->lanes_fp16);
  u64 usable = (u64)s->usable_width * s->usable_height;
  if (usable > UINT32_MAX)
    return status_fail(st, CODE_CONFIG,
                       "machine.fabric: a usable rectangle of %u x %u has more PEs than can be numbered",
                       s->usable_width, s->usable_height);
  double seconds_per_wavelet = fmax(32.0 / s->io_bits_per_s, 32.0 / s->memoryx_bits_per_s);
  double rate = 1 / (seconds_per_wavelet * s->clock_hz);
  double flops = 2 * s->clock_hz * s->lanes_fp16 * s->fabric_height * s->fabric_width;
  bool derived = m->pes_usable == usable && fabs(rate - m->io_wavelets_per_cycle) <= 1e-9 * rate &&
                 fabs(flops - m->peak_flops) <= 1e-9 * flops;
  if (!derived) return status_fail(st, CODE_BUG, "machine: a number that follows from others does not follow");
  return true;
}

u64 machine_hash(const machine *m) {
  // The preset's name is where numbers came from, not a number: equal numbers are equal machines.
  machine_spec bare = m->spec;
  memset(bare.preset, 0, sizeof bare.preset);
  return field_hash(hash_text(HASH_START, "machine"), &machine_table, &bare);
}

void machine_print(const machine *m, text *out) {
  field_print(&machine_table, &m->spec, out);
  text_format(out, "# usable PEs %u, edge %.4g wavelets per cycle and direction, dense fp16 peak %.4g PFLOP/s\n",
              m->pes_usable, m->io_wavelets_per_cycle, m->peak_flops / 1e15);
}

static bool is_path(const char *name) {
  return strchr(name, '/') || text_ends(name, preset_suffix);
}

// "cs2, cs2_sdk, cs3, mesh16"
static void preset_names(text *out) {
  for (u32 i = 0; i < embed_count(); i++) {
    const embed_file *f = embed_get(i);
    if (!text_starts(f->name, preset_folder)) continue;
    const char *name = f->name + strlen(preset_folder);
    text_format(out, "%s%.*s", out->size ? ", " : "", (int)(strlen(name) - strlen(preset_suffix)), name);
  }
}

bool machine_preset(config *c, const char *name, status *st) {
  if (is_path(name)) return config_read_file(c, name, machine_table.name, LEVEL_PRESET, st);
  char path[FIELD_TEXT_MAX + 64];
  snprintf(path, sizeof path, "%s%s%s", preset_folder, name, preset_suffix);
  const embed_file *f = embed_find(path);
  if (f) return config_read(c, f->name, (const char *)f->data, f->size, machine_table.name, LEVEL_PRESET, st);
  text known = {0};
  preset_names(&known);
  status_fail(st, CODE_CONFIG, "machine: there is no preset \"%s\"; known: %s, or give the path of a YAML file", name,
              text_get(&known));
  text_free(&known);
  return false;
}

static bool source_is_classed(const char *source) {
  static const char *const classes[] = {"[HW] ", "[SIM] ", "[COMP] ", "[VEND] ", "[DER] ", "CALIBRATED ", "ASSUMED"};
  for (u32 i = 0; i < COUNT_OF(classes); i++)
    if (text_starts(source, classes[i])) return true;
  return false;
}

bool machine_sources_check(const config *c, status *st) {
  for (u32 i = 0; i < machine_table.count; i++) {
    const field *f = &machine_table.fields[i];
    if (f->type == FIELD_TEXT) continue;
    char key[128];
    snprintf(key, sizeof key, "%s.%s", machine_table.name, f->key);
    const field_note *note = config_note(c, key);
    if (note->level == LEVEL_SET || note->level == LEVEL_FLAG || note->level == LEVEL_FILE) continue;
    if (!note->source || !source_is_classed(note->source))
      return status_fail(st, CODE_CONFIG, "%s: %s has no source; write {value: ..., source: \"[HW] ...\"} or ASSUMED",
                         note->origin, key);
  }
  return true;
}

static void markdown_machine(const embed_file *f, text *out, arena *a) {
  config c;
  config_init(&c, a);
  machine_spec spec;
  config_bind(&c, &machine_table, &spec);
  status st = {0};
  machine m;
  bool ok = config_read(&c, f->name, (const char *)f->data, f->size, machine_table.name, LEVEL_PRESET, &st) &&
            machine_build(&spec, &m, &st);
  require(ok); // embedded presets are checked by tests
  const char *name = f->name + strlen(preset_folder);
  text_format(
      out, "\n## %.*s\n\nUsable PEs %u; edge %.4g wavelets per cycle and direction; dense fp16 peak %.4g PFLOP/s.\n\n",
      (int)(strlen(name) - strlen(preset_suffix)), name, m.pes_usable, m.io_wavelets_per_cycle, m.peak_flops / 1e15);
  text_add(out, "| number | value | source | meaning |\n|---|---|---|---|\n");
  for (u32 i = 0; i < machine_table.count; i++) {
    const field *row = &machine_table.fields[i];
    if (row->type == FIELD_TEXT) continue;
    char key[128];
    snprintf(key, sizeof key, "%s.%s", machine_table.name, row->key);
    const field_note *note = config_note(&c, key);
    text_format(out, "| `%s` | ", row->key);
    field_format(row, &spec, out);
    text_format(out, " | %s | %s |\n", note->source ? note->source : "default", row->sentence);
  }
}

void machine_markdown(text *out, arena *a) {
  text_add(out, "# Machines\n\nGenerated by `weft machine markdown` from presets/machines. Classes of sources: [HW] "
                "measured on silicon, [SIM] the vendor's fabric\nsimulator, [COMP] the vendor's compiler, [VEND] "
                "vendor statement, [DER] arithmetic from cited numbers, CALIBRATED on the\nrow named, ASSUMED where "
                "nothing is published.\n");
  for (u32 i = 0; i < embed_count(); i++) {
    const embed_file *f = embed_get(i);
    if (text_starts(f->name, preset_folder)) markdown_machine(f, out, a);
  }
}
