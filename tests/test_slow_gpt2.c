// The journey of test_gpt2_files in the shape of GPT-2 124M.
#include "tests/gpt2_journey.h"
#include "tests/support.h"

static void gpt2_124m(void **state) {
  (void)state;
  gpt2_journey_run(&(gpt2_journey){.layers = 12, .width = 768, .heads = 12, .vocab = 50257, .padded_vocab = 50304,
                                   .positions = 1024, .seq = 64, .batch = 1});
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(gpt2_124m)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
