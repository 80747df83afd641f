#include "mapper/plan.h"
bool plan_check(const plan *p, const graph *g, const machine *m, status *st) { (void)p; (void)g; (void)m; (void)st; return true; }
