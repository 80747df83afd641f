// One process: weft as it is built by default.
#include "runtime/ranks.h"

#include "base/log.h"
#include "runtime/launcher.h"

bool ranks_begin(status *st) {
  launcher_part p;
  (void)st;
  if (launcher_find(&p) && p.count > 1)
    log_say(
        LOG_WARN,
        "%s: this weft is built without MPI (cmake -DWEFT_MPI=ON), so each of the %u processes trains a run of its own",
        p.found, p.count);
  return true;
}

void ranks_end(void) {}

u32 ranks_index(void) {
  return 0;
}

u32 ranks_count(void) {
  return 1;
}

bool ranks_meet(status_code *stop, status *st) {
  (void)stop;
  return status_ok(st);
}

bool ranks_same(u64 value) {
  (void)value;
  return true;
}

const execute_ranks *ranks_exchange(arena *a) {
  (void)a;
  return NULL;
}
