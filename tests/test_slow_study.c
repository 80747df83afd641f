// The studies at the scale of their presets: minutes each. They hold what issue 8 asks of them: slopes of the
// coordinate check, transfer over depth, laziness.
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/study_coord.h"
#include "runtime/study_lazy.h"
#include "runtime/study_transfer.h"

typedef struct long_study {
  arena *memory;
  char folder[256];
  run_spec base;
  study s;
  study_request q;
} long_study;

static void study_begin(long_study *b, const char *kind, const field_table *table, bool with_data) {
  status st = {0};
  *b = (long_study){.memory = arena_create("test")};
  char *data = arena_format(b->memory, "%s/data/tinyshakespeare.txt", support_shared() ? support_shared() : "");
  if (with_data && !file_exists(data)) {
    arena_destroy(b->memory);
    skip();
  }
  support_folder(b->folder, sizeof b->folder);
  run_assignment *sets = arena_array(b->memory, run_assignment, 3);
  sets[0] = (run_assignment){"record.db", arena_format(b->memory, "%s/t.db", b->folder), false, "test"};
  sets[1] = (run_assignment){"record.out", b->folder, false, "test"};
  sets[2] = (run_assignment){"data.path", data, false, "test"};
  b->q = (study_request){.kind = kind, .table = table, .sets = sets, .set_count = with_data ? 3 : 2};
  b->q.spec = arena_take(b->memory, table->spec_size);
  support_ok(study_load(&b->q, &b->base, b->memory, &st), &st);
  support_ok(study_open(&b->s, &b->q, &b->base, with_data, b->memory, &st), &st);
}

static void study_end(long_study *b) {
  status st = {0};
  support_ok(study_close(&b->s, &st), &st);
  json_decref(b->s.document);
  support_remove(b->folder);
  arena_destroy(b->memory);
}

static void coordinate_check(void **state) {
  (void)state;
  long_study b;
  coord_study c;
  status st = {0};
  study_begin(&b, "coord", &coord_table, true);
  support_ok(coord_run(&c, &b.s, b.q.spec, &st), &st);
  for (u32 i = 0; i < c.rule_count; i++) {
    const coord_result *r = &c.results[i];
    const double slope = r->slopes[0][COORD_FINAL].mean;
    const bool grows = r->rule.kind == PARAM_SP || r->rule.kind == PARAM_MUP;
    print_message("%s: %.3f\n", r->rule.name, slope);
    assert_true(r->sound);
    assert_true(grows ? slope > 0.75 && slope < 1.25 : fabs(slope) < 0.2);
  }
  study_end(&b);
}

static void transfer_over_depth(void **state) {
  (void)state;
  long_study b;
  transfer_study t;
  status st = {0};
  study_begin(&b, "transfer", &transfer_table, true);
  support_ok(transfer_run(&t, &b.s, b.q.spec, &st), &st);
  print_message("%s\n", b.s.verdict);
  const transfer_size *kept = NULL;
  for (u32 i = 0; i < t.rule_count; i++)
    if (t.results[i].rule.kind == PARAM_COMPLETEP) kept = &t.results[i].sizes[t.deepest];
  assert_non_null(kept);
  assert_true(fabs(kept->drift) < 0.5);
  for (u32 i = 0; i < t.rule_count; i++)
    if (t.results[i].rule.kind != PARAM_COMPLETEP) assert_true(t.results[i].sizes[t.deepest].moved > kept->moved + 0.1);
  study_end(&b);
}

static void laziness(void **state) {
  (void)state;
  long_study b;
  lazy_study l;
  status st = {0};
  study_begin(&b, "lazy", &lazy_table, false);
  support_ok(lazy_run(&l, &b.s, b.q.spec, &st), &st);
  print_message("%s\n", b.s.verdict);
  for (u32 i = 0; i < l.alphas.count; i++) assert_true(l.slopes[i].pass);
  study_end(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(coordinate_check), cmocka_unit_test(transfer_over_depth),
                                     cmocka_unit_test(laziness)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
