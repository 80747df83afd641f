// Selection sampling (Knuth, algorithm S): each token is taken with the chance that leaves exactly enough.
#include "model/compute/mask.h"

#include "base/random.h"
#include "model/graph/graph.h"

enum { MASK_PERCENT = 15, DRAWS = 3 }; // per token: is it a target, what is shown, which random token
enum { SHOW_OF = 10, SHOW_MASK = 8, SHOW_RANDOM = 9 }; // of ten: below 8 the mask, below 9 a random token

u32 mask_count(u32 seq) {
  u32 count = (u32)(((u64)seq * MASK_PERCENT + 50) / 100);
  return count ? count : 1;
}

static u64 draw(const mask_draw *d, u64 token, u32 which, u64 below) {
  return random_below(d->seed, RANDOM_MASK, d->stream, token * DRAWS + which, below);
}

void mask_window(token_window w, mask_draw d) {
  require(d.vocab > 1);
  u32 wanted = mask_count(w.seq);
  for (u32 t = 0; t < w.seq; t++) {
    u64 token = (u64)d.index * w.seq + t;
    bool taken = draw(&d, token, 0, w.seq - t) < wanted;
    w.targets[t] = taken ? w.inputs[t] : TARGET_NONE;
    if (!taken) continue;
    wanted--;
    u64 show = draw(&d, token, 1, SHOW_OF);
    if (show < SHOW_MASK)
      w.inputs[t] = d.vocab - 1;
    else if (show < SHOW_RANDOM)
      w.inputs[t] = (u32)draw(&d, token, 2, d.vocab - 1);
  }
  require(wanted == 0);
}
