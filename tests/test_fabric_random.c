// Random legal programs on the fabric: wavelet by wavelet and through pipes they are the same, nothing is
// lost, and skipping idle time changes nothing.
#include "tests/fabric_support.h"

#include "base/hash.h"

enum { SEEDS = 2000, SPUN = 200 };

static bool one_seed(u64 seed, u64 *hash) {
  random_case c = random_case_make(seed, 0);
  fabric_outcome walked = random_case_run(&c, (fabric_options){.walk = true}), piped = random_case_run(&c, (fabric_options){.threads = 1});
  fabric_same(&walked, &piped, "walk and pipes", seed);
  if (piped.ok) random_case_verify(&c, &piped, seed);
  *hash = hash_u64(hash_u64(hash_u64(*hash, piped.result.cycles), piped.result.counts.hops), piped.state);
  random_case_free(&c);
  return piped.ok;
}

static void test_walk_and_pipes_are_the_same(void **state) {
  (void)state;
  u32 ended = 0;
  u64 hash = HASH_START;
  for (u64 seed = 0; seed < SEEDS; seed++) ended += one_seed(seed, &hash);
  assert_true(ended > SEEDS * 8 / 10); // PEs that wait in order may block each other
  // Cycles, hops and memory of them all: changes when the machine's laws or presets do, not by making it faster.
  if (hash != 0xc2fb9da663074132ull) fail_msg("hash %llx", (unsigned long long)hash);
}

// A PE that is never idle forbids all skipping: nothing else may notice.
static void test_skipping_changes_nothing(void **state) {
  (void)state;
  for (u64 seed = 0; seed < SPUN; seed++) {
    random_case still = random_case_make(seed, 3), spun = random_case_make(seed, 6000);
    fabric_outcome a = random_case_run(&still, (fabric_options){0}), b = random_case_run(&spun, (fabric_options){0});
    if (a.ok) {
      assert_true(b.ok && b.result.cycles >= a.result.cycles);
      assert_true(b.result.stepped + 8 >= 6000);
      b.result.cycles = a.result.cycles;
      b.result.counts.tasks = a.result.counts.tasks;
      fabric_same(&a, &b, "skipping", seed);
    }
    random_case_free(&still);
    random_case_free(&spun);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_walk_and_pipes_are_the_same),
      cmocka_unit_test(test_skipping_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
