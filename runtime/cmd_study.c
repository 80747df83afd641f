// weft study: the paper's questions as commands, each with a verdict, rows, pictures and a page.
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/study_coord.h"
#include "runtime/study_lazy.h"
#include "runtime/study_shapes.h"
#include "runtime/study_transfer.h"

#include <string.h>

typedef struct study_kind {
  const char *name;
  const field_table *table;
  bool with_data;
  bool (*go)(study *s, const void *options, status *st); // runs it and writes its page
} study_kind;

static bool go_coord(study *s, const void *options, status *st) {
  coord_study c;
  return coord_run(&c, s, options, st) && coord_page(&c, st);
}

static bool go_transfer(study *s, const void *options, status *st) {
  transfer_study t;
  return transfer_run(&t, s, options, st) && transfer_page(&t, st);
}

static bool go_lazy(study *s, const void *options, status *st) {
  lazy_study l;
  return lazy_run(&l, s, options, st) && lazy_page(&l, st);
}

static bool go_shapes(study *s, const void *options, status *st) {
  shapes_study p;
  return shapes_run(&p, s, options, st) && shapes_page(&p, st);
}

static const study_kind kinds[] = {
    {"coord", &coord_table, true, go_coord},
    {"transfer", &transfer_table, true, go_transfer},
    {"lazy", &lazy_table, false, go_lazy},
    {"shapes", &shapes_table, true, go_shapes},
};

static void print_page(const study *s) {
  output_format("%s\n\n", s->verdict);
  output_format("page        %s/%s.html (pictures beside it)\n", s->folder, s->kind);
  output_format("experiment  %s in %s\n", s->experiment, s->base->record.db);
}

static bool conduct(const command_call *c, const study_kind *k, const study_request *q, status *st) {
  run_spec *base = arena_array(c->memory, run_spec, 1);
  study *s = arena_array(c->memory, study, 1);
  if (!study_load(q, base, c->memory, st)) return false;
  const bool ok = study_open(s, q, base, k->with_data, c->memory, st) && k->go(s, q->spec, st) && study_finish(s, st);
  study_close(s, st);
  if (!ok || !status_ok(st)) {
    json_decref(s->document);
    return false;
  }
  if (command_flag(c, "json"))
    output_json(s->document);
  else
    print_page(s);
  if (!command_flag(c, "json")) json_decref(s->document);
  return s->pass || status_fail(st, CODE_CHECK, "study %s: the check failed; the page says what", k->name);
}

static bool run(const command_call *c, status *st) {
  const char *words[COUNT_OF(kinds)];
  for (u32 i = 0; i < COUNT_OF(kinds); i++) words[i] = kinds[i].name;
  u32 index = 0;
  if (!command_word(c, words, COUNT_OF(words), &index, st)) return false;
  const study_kind *k = &kinds[index];
  study_request q = {.kind = k->name, .path = command_argument(c, 1), .table = k->table};
  q.spec = arena_take(c->memory, k->table->spec_size);
  return command_sets(c, &q.sets, &q.set_count, st) && command_threads(c, &q.threads, st) && conduct(c, k, &q, st);
}

const command cmd_study = {
    .name = "study",
    .arguments = "coord|transfer|lazy|shapes [NAME or study.yaml]",
    .sentence = "the questions of the CompleteP paper, each with a verdict, a page and rows in the database",
    .examples = {{"weft study coord --data shakespeare.txt", "does every module change alike at every depth and width?"},
                 {"weft study transfer --set transfer.seeds=5", "does the best learning rate stay where it is?"}},
    .details = "NAME is one of presets/studies (coord-full, transfer-full ...: the paper's scale); a file holds the sections of a run and\n"
               "one of the study's own.",
    .groups = COMMAND_RUN | COMMAND_DB | COMMAND_OUT | COMMAND_JSON,
    .arguments_max = 2,
    .run = run,
};
