// weft machine: the machines that the program knows, each number with its source.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/presets.h"

#include <stdio.h>
#include <string.h>

// A machine as stated by a preset, with the notes of its values.
typedef struct known_machine {
  config c;
  machine_spec spec;
  machine m;
} known_machine;

static bool read_machine(const char *name, arena *a, known_machine *k, status *st) {
  config_init(&k->c, a);
  config_bind(&k->c, &machine_table, &k->spec);
  if (!presets_is_path(name) && !presets_find("machines", name)) {
    return presets_unknown("machines", "machine", name, st);
  }
  return config_set(&k->c, "machine", name, LEVEL_PRESET, "command line", NULL, st) &&
         machine_preset(&k->c, name, st) && machine_build(&k->spec, &k->m, st);
}

static bool list(const command_call *c, status *st) {
  const bool as_json = command_flag(c, "json");
  const char *const *names;
  const u32 count = presets_list("machines", c->memory, &names);
  json_t *rows = json_array();
  if (!as_json) output_format("%-10s %11s %9s %9s %11s\n", "machine", "usable PEs", "clock", "SRAM", "fp16 peak");
  for (u32 i = 0; i < count; i++) {
    known_machine *k = arena_array(c->memory, known_machine, 1);
    if (!read_machine(names[i], c->memory, k, st)) {
      json_decref(rows);
      return false;
    }
    char grid[32], clock[32], sram[32], peak[32];
    snprintf(grid, sizeof grid, "%u x %u", k->spec.usable_width, k->spec.usable_height);
    if (!as_json) {
      output_format("%-10s %11s %9s %9s %11s\n", names[i], grid, text_si(k->spec.clock_hz, "Hz", clock, sizeof clock),
                    text_bytes(k->spec.sram_bytes, sram, sizeof sram),
                    text_si(k->m.peak_flops, "FLOP/s", peak, sizeof peak));
    }
    json_array_append_new(rows, json_pack("{s:s,s:I,s:I,s:f,s:I,s:f}", "name", names[i], "usable_width",
                                          (json_int_t)k->spec.usable_width, "usable_height",
                                          (json_int_t)k->spec.usable_height, "clock_hz", k->spec.clock_hz, "sram_bytes",
                                          (json_int_t)k->spec.sram_bytes, "peak_flops", k->m.peak_flops));
  }
  if (!as_json) {
    json_decref(rows);
    return true;
  }
  json_t *document = output_document("machine");
  json_object_set_new(document, "machines", rows);
  output_json(document);
  return true;
}

static void show_json(const char *name, const known_machine *k) {
  json_t *document = output_document("machine"), *values = json_object();
  for (u32 i = 0; i < machine_table.count; i++) {
    const field *f = &machine_table.fields[i];
    const field_note *note = &k->c.sections[0].notes[i];
    text value = {0};
    field_format(f, &k->spec, &value);
    json_t *row = json_object();
    json_object_set_new(row, "value", output_words(text_get(&value), value.size));
    if (note->source) json_object_set_new(row, "source", output_words(note->source, strlen(note->source)));
    json_object_set_new(values, f->key, row);
    text_free(&value);
  }
  json_object_set_new(document, "name", json_string(name));
  json_object_set_new(document, "values", values);
  json_object_set_new(document, "pes_usable", json_integer(k->m.pes_usable));
  json_object_set_new(document, "io_wavelets_per_cycle", output_real(k->m.io_wavelets_per_cycle));
  json_object_set_new(document, "peak_flops", output_real(k->m.peak_flops));
  output_json(document);
}

static void show_page(const char *name, const known_machine *k) {
  output_format("%s\n", name);
  for (u32 i = 0; i < machine_table.count; i++) {
    const field *f = &machine_table.fields[i];
    if (f->type == FIELD_TEXT) continue;
    const field_note *note = &k->c.sections[0].notes[i];
    text value = {0};
    field_format(f, &k->spec, &value);
    output_format("  %-26s %-10s %s\n", f->key, text_get(&value), note->source ? note->source : note->origin);
    text_free(&value);
  }
  char peak[32];
  output_format(
      "follows from it: %u usable PEs, %.4g wavelets per cycle through the edge each way, %s dense fp16 peak\n",
      k->m.pes_usable, k->m.io_wavelets_per_cycle, text_si(k->m.peak_flops, "FLOP/s", peak, sizeof peak));
}

static bool show(const command_call *c, status *st) {
  const char *name = command_argument(c, 1);
  if (!name) return status_fail(st, CODE_USAGE, "weft machine show NAME: which machine? weft machine list shows them");
  known_machine *k = arena_array(c->memory, known_machine, 1);
  if (!read_machine(name, c->memory, k, st)) return false;
  if (command_flag(c, "json"))
    show_json(name, k);
  else
    show_page(name, k);
  return true;
}

enum { LIST, SHOW, MARKDOWN };
static const char *const words[] = {"list", "show", "markdown"};

static bool run(const command_call *c, status *st) {
  u32 word;
  if (!command_word(c, words, COUNT_OF(words), &word, st)) return false;
  if (!command_arguments_max(c, word == SHOW ? 2 : 1, st)) return false;
  if (word == LIST) return list(c, st);
  if (word == SHOW) return show(c, st);
  text page = {0};
  machine_markdown(&page, c->memory);
  output_page("machine", command_flag(c, "json"), &page);
  return true;
}

const command cmd_machine = {
    .name = "machine",
    .arguments = "list | show NAME | markdown",
    .sentence = "the machines that runs are modelled on",
    .examples = {{"weft machine list", "every machine preset in one line"},
                 {"weft machine show cs3", "all numbers of the CS-3, each with its source"}},
    .details = "  list      all presets (the default)\n  show      one machine: a preset or a YAML file\n"
               "  markdown  docs/MACHINE.md",
    .groups = COMMAND_JSON,
    .arguments_max = 2,
    .run = run,
};
