// The random programs of test_fabric_random in numbers and on threads, for the sanitizers and for rare meetings.
#include "tests/fabric_support.h"

enum { SEEDS = 20000, FIRST = 100000 };

static void test_many_programs(void **state) {
  (void)state;
  u32 ended = 0;
  for (u64 seed = FIRST; seed < FIRST + SEEDS; seed++) {
    random_case c = random_case_make(seed, 0);
    fabric_outcome walked = random_case_run(&c, (fabric_options){.walk = true}), piped = random_case_run(&c, (fabric_options){.threads = 1});
    fabric_same(&walked, &piped, "walk and pipes", seed);
    fabric_outcome threaded = random_case_run(&c, (fabric_options){.threads = 2 + (u32)(seed % 7), .always = true, .walk = seed & 8});
    fabric_same(&piped, &threaded, "threads", seed);
    if (piped.ok) random_case_verify(&c, &piped, seed);
    ended += piped.ok;
    random_case_free(&c);
  }
  assert_true(ended > SEEDS * 8 / 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_many_programs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
