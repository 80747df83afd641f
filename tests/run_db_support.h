// What the tests of the run database share: a file in a folder of its own, a run, and questions in SQL.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/run_db_file.h"

static char folder[] = "/tmp/weft-db-XXXXXX";
static char path[256];

static inline int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : 1;
}

static inline int remove_folder(void **state) {
  (void)state;
  return rmdir(folder); // every test leaves it empty
}

static inline const char *beside(const char *suffix) {
  static char other[300]; // good until the next call
  snprintf(other, sizeof other, "%s%s", path, suffix);
  return other;
}

static inline int fresh_path(void **state) {
  (void)state;
  snprintf(path, sizeof path, "%s/weft.db", folder);
  return 0;
}

static inline int remove_file(void **state) {
  (void)state;
  unlink(path);
  unlink(beside("-wal"));
  unlink(beside("-shm"));
  return 0;
}

#define OK(call)                                                                                                       \
  do {                                                                                                                 \
    if (!(call)) fail_msg("%s", st.text);                                                                              \
  } while (0)

static inline run_db *open_db(void) {
  status st = {0};
  run_db *db = run_db_open(path, &st);
  if (!db) fail_msg("%s", st.text);
  return db;
}

static inline void close_db(run_db *db) {
  status st = {0};
  OK(run_db_close(db, &st));
}

static inline u64 start_run(run_db *db, const char *name) {
  status st = {0};
  run_facts facts = run_facts_none();
  facts.name = name;
  facts.command = "train";
  facts.config = "seed: 7\n";
  facts.config_hash = 0xfedcba9876543210u;
  facts.machine = "cs3";
  facts.experiment = "width";
  facts.seed = UINT64_MAX - 1;
  facts.threads = 2;
  u64 run = 0;
  OK(run_db_start(db, &facts, &run, &st));
  return run;
}

typedef struct dump {
  text out;
} dump;

static inline bool dump_row(void *user, u32 columns, const char *const *names, const char *const *values) {
  (void)names;
  dump *d = user;
  for (u32 i = 0; i < columns; i++) text_format(&d->out, "%s%s", i ? "|" : "", values[i] ? values[i] : "NULL");
  text_add(&d->out, "\n");
  return true;
}

static inline char *query(run_db *db, const char *sql) {
  status st = {0};
  dump d = {{0}};
  OK(run_db_query(db, sql, dump_row, &d, &st));
  if (!d.out.data) text_add(&d.out, "");
  return d.out.data;
}

static inline void expect(run_db *db, const char *sql, const char *answer) {
  char *said = query(db, sql);
  assert_string_equal(said, answer);
  free(said);
}

static inline void sql_of_another(const char *file, const char *sql) {
  sqlite3 *h;
  assert_int_equal(sqlite3_open(file, &h), SQLITE_OK);
  char *error = NULL;
  if (sqlite3_exec(h, sql, NULL, NULL, &error) != SQLITE_OK) fail_msg("%s", error);
  sqlite3_close(h);
}

static inline void expect_healthy(run_db *db) {
  status st = {0};
  text report = {0};
  u32 complaints = 1;
  OK(run_db_check(db, &report, &complaints, &st));
  if (complaints) fail_msg("%s", text_get(&report));
  text_free(&report);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh_path, remove_file)
