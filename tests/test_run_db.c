// The run database as a file: schema and versions, what is written comes back, merging, copies, checks,
// and refusal of what is not ours.
#include "tests/run_db_support.h"

#include <math.h>
#include <sys/stat.h>

#include "base/file.h"

// ---- schema and versions

static void schema_is_as_documented(void **state) {
  (void)state;
  run_db *db = open_db();
  assert_null(run_db_read_only(db));
  expect(db, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
         "alert\nartifact\nexperiment\nmetric\nmetric_key\nparam\nphase\nrun\nsimulation\ntag\nwafer_map\n");
  expect(db, "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name", "v_latest\nv_metric\n");
  expect(db,
         "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
         " AND name NOT LIKE 'sqlite%' AND NOT strict",
         "0\n");
  expect(db, "SELECT wr FROM pragma_table_list WHERE name = 'metric'", "1\n");
  expect(db, "SELECT group_concat(name) FROM pragma_table_info('metric') WHERE pk ORDER BY pk", "run,key,step\n");
  expect(db, "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version", "1464157780|1\n");
  assert_true(file_exists(beside("-wal")));
  expect(db, "SELECT id, name, unit FROM metric_key", "1|loss|nat\n2|val_loss|nat\n3|lr|\n4|grad_norm|\n");
  expect_healthy(db);
  close_db(db);
  assert_false(file_exists(beside("-wal"))); // one file that can be copied
  db = open_db();                            // a second time changes nothing
  expect(db, "SELECT count(*) FROM metric_key", "4\n");
  close_db(db);
}

static void every_column_of_run_is_read(void **state) {
  (void)state;
  run_db *db = open_db();
  // own columns but boot and pid_start, which nobody reads back, plus facts and results
  char expected[16];
  snprintf(expected, sizeof expected, "%u\n", 11 + db_fact_count + db_result_count);
  expect(db, "SELECT count(*) FROM pragma_table_info('run')", expected);
  close_db(db);
}

static void newer_file_is_read_only(void **state) {
  (void)state;
  run_db *db = open_db();
  const u64 run = start_run(db, "old");
  close_db(db);
  sql_of_another(path, "PRAGMA user_version=7");
  status st = {0};
  db = open_db();
  assert_non_null(strstr(run_db_read_only(db), "newer weft (schema 7, this one knows 1)"));
  expect(db, "SELECT name FROM run", "old\n");
  assert_false(run_db_set_tag(db, run, "a", "b", &st));
  assert_int_equal(st.code, CODE_CANT_CREATE);
  assert_string_equal(st.text, run_db_read_only(db));
  close_db(db);
}

static void foreign_files_are_refused(void **state) {
  (void)state;
  status st = {0};
  sql_of_another(path, "CREATE TABLE mine (x); PRAGMA user_version=1");
  struct stat before, after;
  stat(path, &before);
  assert_null(run_db_open(path, &st));
  assert_int_equal(st.code, CODE_DATA);
  assert_non_null(strstr(st.text, "not one of weft's"));
  stat(path, &after);
  assert_true(before.st_size == after.st_size && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
  status_clear(&st);
  OK(file_write(path, "this is no database, only a text that is long enough", 52, &st));
  assert_null(run_db_open(path, &st));
  assert_int_equal(st.code, CODE_DATA);
  assert_non_null(strstr(st.text, "is not a SQLite database"));
  status_clear(&st);
  unlink(path);
  assert_null(run_db_open_read(path, &st));
  assert_int_equal(st.code, CODE_NO_INPUT);
  assert_false(file_exists(path));
  status_clear(&st);
  assert_null(run_db_open("/nonexistent/weft.db", &st));
  assert_int_equal(st.code, CODE_CANT_CREATE);
}

static void migration_keeps_a_copy(void **state) {
  (void)state;
  static const char *const two[] = {"CREATE TABLE later (x INTEGER) STRICT", NULL};
  static const char *const broken[] = {"CREATE TABLE half (x INTEGER) STRICT", "CREATE TABLE", NULL};
  const char *const *const good[] = {db_schema_steps[0], two};
  const char *const *const bad[] = {db_schema_steps[0], two, broken};
  status st = {0};
  run_db *db = open_db();
  start_run(db, "kept");
  OK(db_migrate(db, good, 2, &st));
  expect(db, "SELECT count(*) FROM later", "0\n");
  expect(db, "PRAGMA user_version", "2\n");
  assert_false(db_migrate(db, bad, 3, &st)); // all of a step or nothing
  expect(db, "PRAGMA user_version", "2\n");
  expect(db, "SELECT count(*) FROM sqlite_master WHERE name = 'half'", "0\n");
  close_db(db);
  char copy[300];
  snprintf(copy, sizeof copy, "%s", beside(".v1.bak"));
  status_clear(&st);
  db = run_db_open_read(copy, &st);
  assert_non_null(db);
  expect(db, "SELECT name FROM run", "kept\n");
  close_db(db);
  unlink(copy);
  unlink(beside(".v2.bak"));
}

// ---- a run, from start to finish

static void run_row_comes_back(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  run_db *db = open_db();
  const u64 run = start_run(db, "first");
  run_facts late = run_facts_none();
  late.plan_hash = 5;
  OK(run_db_set_facts(db, run, &late, &st));
  run_results results = run_results_none();
  results.cycles_per_step = 1234.5;
  results.macs = 1ll << 60;
  results.bottleneck = "edge I/O";
  OK(run_db_set_results(db, run, &results, &st));
  results = run_results_none();
  results.step_s = 0.25;
  OK(run_db_set_results(db, run, &results, &st)); // leaves the others
  OK(run_db_add_metric(db, run, METRIC_LOSS, 1, 5.5, &st));
  OK(run_db_add_metric(db, run, METRIC_LOSS, 2, 4.5, &st));
  OK(run_db_flush(db, &st));
  run_row row;
  OK(run_db_get(db, run, a, &row, &st));
  assert_string_equal(row.facts.name, "first");
  assert_string_equal(row.facts.experiment, "width");
  assert_string_equal(row.facts.config, "seed: 7\n");
  assert_true(row.facts.seed == UINT64_MAX - 1);
  assert_true(row.facts.config_hash == 0xfedcba9876543210u && row.facts.plan_hash == 5);
  assert_true(row.facts.data_hash == 0 && row.facts.data == NULL && row.facts.threads == 2);
  assert_true(row.facts.created_ms > 1600000000000);
  assert_true(row.results.cycles_per_step == 1234.5 && row.results.step_s == 0.25);
  assert_true(row.results.macs == 1ll << 60 && row.results.wavelets == -1);
  assert_true(isnan(row.results.joules_per_step) && row.results.engine == NULL);
  assert_string_equal(row.results.bottleneck, "edge I/O");
  assert_int_equal(row.results.steps, 2); // from the metrics while it runs
  assert_true(row.results.loss_first == 5.5 && row.results.loss_last == 4.5);
  assert_int_equal(row.state, RUN_RUNNING);
  assert_int_equal(row.ended_ms, -1);
  OK(run_db_finish(db, run, RUN_FAILED, "the disk is full", &st));
  OK(run_db_get(db, run, a, &row, &st));
  assert_int_equal(row.state, RUN_FAILED);
  assert_string_equal(row.why, "the disk is full");
  assert_true(row.ended_ms > 0);
  assert_false(run_db_get(db, 99, a, &row, &st));
  assert_int_equal(st.code, CODE_NO_INPUT);
  expect_healthy(db);
  close_db(db);
  arena_destroy(a);
}

static void what_belongs_to_a_run_comes_back(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  run_db *db = open_db();
  const u64 run = start_run(db, "first");
  u32 n;
  const run_param params[] = {{"train.lr", "0.5", "--set"}, {"model.width", "64", NULL}};
  OK(run_db_set_params(db, run, params, 2, &st));
  OK(run_db_set_params(db, run, params, 2, &st));
  const run_param *got_params;
  OK(run_db_params(db, run, a, &got_params, &n, &st));
  assert_int_equal(n, 2);
  assert_string_equal(got_params[0].key, "model.width");
  assert_null(got_params[0].origin);
  assert_string_equal(got_params[1].origin, "--set");
  const run_phase phases[] = {{"forward", "block 0", 0, 100, "fabric"}, {"backward", NULL, 90, 1ull << 40, NULL}};
  OK(run_db_set_phases(db, run, phases, 2, &st));
  const run_phase *got_phases;
  OK(run_db_phases(db, run, a, &got_phases, &n, &st));
  assert_int_equal(n, 2);
  assert_string_equal(got_phases[0].bound_by, "fabric");
  assert_true(got_phases[1].end_cycle == 1ull << 40 && got_phases[1].layer == NULL);
  const run_artifact artifact = {"trace", "out/step.pftrace", 4096, 77};
  OK(run_db_add_artifact(db, run, &artifact, &st));
  OK(run_db_add_artifact(db, run, &artifact, &st));
  const run_artifact *got_artifacts;
  OK(run_db_artifacts(db, run, a, &got_artifacts, &n, &st));
  assert_int_equal(n, 1);
  assert_true(got_artifacts[0].bytes == 4096 && got_artifacts[0].hash == 77);
  OK(run_db_add_alert(db, run, 9, "warn", "the loss doubled", &st));
  const run_alert *alerts;
  OK(run_db_alerts(db, run, a, &alerts, &n, &st));
  assert_int_equal(n, 1);
  assert_string_equal(alerts[0].sentence, "the loss doubled");
  float values[6] = {0, 1.5f, -2, 3, 1e-30f, 1e30f};
  const run_map map = {"busy", "cycles", 3, 2, values}, *maps;
  run_map got;
  OK(run_db_set_map(db, run, &map, &st));
  OK(run_db_maps(db, run, a, &maps, &n, &st));
  assert_true(n == 1 && maps[0].w == 3 && maps[0].h == 2 && maps[0].values == NULL);
  OK(run_db_get_map(db, run, "busy", a, &got, &st));
  assert_memory_equal(got.values, values, sizeof values);
  assert_false(run_db_get_map(db, run, "idle", a, &got, &st));
  assert_int_equal(st.code, CODE_NO_INPUT);
  close_db(db);
  arena_destroy(a);
}

static void simulations_are_cached(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  run_db *db = open_db();
  simulation_key key = {11, 12, "flow/1"};
  simulation got;
  OK(run_db_get_simulation(db, &key, a, &got, &st));
  assert_null(got.json);
  OK(run_db_put_simulation(db, &key, &(simulation){"{\"cycles\":5}", "\0\1\2", 3}, &st));
  OK(run_db_get_simulation(db, &key, a, &got, &st));
  assert_string_equal(got.json, "{\"cycles\":5}");
  assert_int_equal(got.blob_bytes, 3);
  assert_memory_equal(got.blob, "\0\1\2", 3);
  key.engine_version = "flow/2";
  OK(run_db_get_simulation(db, &key, a, &got, &st));
  assert_null(got.json);
  close_db(db);
  arena_destroy(a);
}

static void runs_are_listed_and_found(void **state) {
  (void)state;
  status st = {0};
  arena *a = arena_create("test");
  run_db *db = open_db();
  const u64 one = start_run(db, "a"), two = start_run(db, "b"), three = start_run(db, "a");
  OK(run_db_set_tag(db, two, "kind", "best", &st));
  const run_row *rows;
  u32 n;
  OK(run_db_list(db, &(run_filter){0}, a, &rows, &n, &st));
  assert_true(n == 3 && rows[0].id == three && rows[2].id == one && rows[0].facts.config == NULL);
  OK(run_db_list(db, &(run_filter){.limit = 1}, a, &rows, &n, &st));
  assert_int_equal(n, 1);
  OK(run_db_list(db, &(run_filter){.tag_key = "kind", .tag_value = "best"}, a, &rows, &n, &st));
  assert_true(n == 1 && rows[0].id == two);
  OK(run_db_list(db, &(run_filter){.experiment = "none"}, a, &rows, &n, &st));
  assert_int_equal(n, 0);
  run_row row;
  OK(run_db_get(db, two, a, &row, &st));
  char first[9];
  snprintf(first, sizeof first, "%.8s", row.uid);
  u64 found;
  OK(run_db_find(db, "2", &found, &st));
  assert_true(found == two);
  OK(run_db_find(db, "a", &found, &st));
  assert_true(found == three);
  OK(run_db_find(db, "last", &found, &st));
  assert_true(found == three);
  OK(run_db_find(db, first, &found, &st));
  assert_true(found == two);
  assert_false(run_db_find(db, "nobody", &found, &st));
  assert_int_equal(st.code, CODE_NO_INPUT);
  close_db(db);
  arena_destroy(a);
}

// ---- the whole file

static void merge_and_snapshot(void **state) {
  (void)state;
  status st = {0};
  char other[300], copy[300];
  snprintf(other, sizeof other, "%s", beside(".rank1"));
  snprintf(copy, sizeof copy, "%s", beside(".copy"));
  u32 runs, key;
  run_db *rank = run_db_open(other, &st);
  OK(run_db_metric_key(rank, "only.there", "m", &key, &st));
  const u64 there = start_run(rank, "there");
  OK(run_db_add_metric(rank, there, key, 1, 2.5, &st));
  OK(run_db_put_simulation(rank, &(simulation_key){1, 2, "flow/1"}, &(simulation){"{}", NULL, 0}, &st));
  OK(run_db_set_tag(rank, there, "k", "v", &st));
  OK(run_db_flush(rank, &st));
  run_db *db = open_db();
  OK(run_db_metric_key(db, "only.here", "s", &key, &st)); // takes the id that the other key has there
  start_run(db, "here");
  OK(run_db_merge(db, other, &runs, &st));
  assert_int_equal(runs, 1);
  OK(run_db_merge(db, other, &runs, &st));
  assert_int_equal(runs, 0);
  expect(db, "SELECT run_name, experiment, key, unit, value FROM v_metric", "there|width|only.there|m|2.5\n");
  OK(run_db_add_metric(rank, there, METRIC_LOSS, 2, 1.5, &st));
  sqlite3_sleep(5);
  OK(run_db_finish(rank, there, RUN_FINISHED, NULL, &st));
  close_db(rank);
  OK(run_db_merge(db, other, &runs, &st)); // it has gone on since
  assert_int_equal(runs, 1);
  expect(db, "SELECT id, name, status FROM run", "1|here|running\n2|there|finished\n");
  expect(db, "SELECT count(*) FROM metric", "2\n");
  expect(db, "SELECT run, key, value FROM tag", "2|k|v\n");
  expect(db, "SELECT count(*) FROM simulation", "1\n");
  expect_healthy(db);
  assert_false(run_db_merge(db, path, &runs, &st));
  assert_int_equal(st.code, CODE_USAGE);
  status_clear(&st);
  OK(run_db_snapshot(db, copy, &st));
  assert_false(run_db_snapshot(db, copy, &st));
  assert_int_equal(st.code, CODE_CANT_CREATE);
  status_clear(&st);
  run_db *second = run_db_open_read(copy, &st);
  expect(second, "SELECT count(*) FROM run", "2\n");
  close_db(second);
  close_db(db);
  unlink(other);
  unlink(copy);
}

static void queries_only_read(void **state) {
  (void)state;
  static const char *const refused[] = {"DELETE FROM run", "SELECT 1; SELECT 2",         "", "ATTACH 'x' AS y",
                                        "BEGIN",           "SELECT nothing FROM nowhere"};
  run_db *db = open_db();
  for (u32 i = 0; i < COUNT_OF(refused); i++) {
    status st = {0};
    dump d = {{0}};
    assert_false(run_db_query(db, refused[i], dump_row, &d, &st));
    assert_int_equal(st.code, CODE_USAGE);
    text_free(&d.out);
  }
  expect(db, "SELECT 1, NULL, 'x' ; ", "1|NULL|x\n");
  close_db(db);
}

static void check_finds_what_is_wrong(void **state) {
  (void)state;
  status st = {0};
  run_db *db = open_db();
  start_run(db, "r");
  sql_of_another(path, "INSERT INTO tag VALUES (9, 'a', 'b');"
                       "INSERT INTO metric VALUES (1, 1, 1, NULL);"
                       "INSERT INTO phase VALUES (1, 0, 'p', NULL, 9, 8, NULL);");
  text report = {0};
  u32 complaints = 0;
  OK(run_db_check(db, &report, &complaints, &st));
  assert_int_equal(complaints, 3);
  assert_non_null(strstr(text_get(&report), "of tag points to a missing row of run"));
  assert_non_null(strstr(text_get(&report), "phase 0 of run 1 ends before it starts"));
  text_free(&report);
  close_db(db);
}

// ---- the page of examples

// Prepares (which checks every name in it) the SQL from `at` to `end`.
static void expect_valid(run_db *db, const char *at, const char *end) {
  sqlite3_stmt *s = NULL;
  if (sqlite3_prepare_v2(db->handle, at, (int)(end - at), &s, NULL) != SQLITE_OK)
    fail_msg("%s in %.*s", sqlite3_errmsg(db->handle), (int)(end - at), at);
  sqlite3_finalize(s);
}

static void examples_of_the_page_are_valid(void **state) {
  (void)state;
  if (sqlite3_libversion_number() < 3039000) skip(); // FULL JOIN
  status st = {0};
  arena *a = arena_create("test");
  run_db *db = open_db();
  char *page;
  size_t size;
  OK(file_read(WEFT_SOURCE_DIR "/docs/queries.md", a, &page, &size, &st));
  u32 found = 0;
  for (char *at = page; (at = strstr(at, "\n```")); at++) {
    const bool shell = text_starts(at, "\n```sh\nsqlite3 ");
    if (!shell && !text_starts(at, "\n```sql\n")) continue;
    const char *sql = shell ? strchr(at, '"') + 1 : at + 8;
    expect_valid(db, sql, shell ? strchr(sql, '"') : strstr(sql, "```"));
    found++;
  }
  assert_int_equal(found, 13);
  close_db(db);
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(schema_is_as_documented),
      TEST(every_column_of_run_is_read),
      TEST(newer_file_is_read_only),
      TEST(foreign_files_are_refused),
      TEST(migration_keeps_a_copy),
      TEST(run_row_comes_back),
      TEST(what_belongs_to_a_run_comes_back),
      TEST(simulations_are_cached),
      TEST(runs_are_listed_and_found),
      TEST(merge_and_snapshot),
      TEST(queries_only_read),
      TEST(check_finds_what_is_wrong),
      TEST(examples_of_the_page_are_valid),
  };
  return cmocka_run_group_tests_name("run_db", tests, make_folder, remove_folder);
}
