// Ranks by MPI. Sums go along a chain and never through a reduction of MPI's, whose order is its own: only where all
// ranks but one hold zeros, or for maxima, is a reduction used.
#include "runtime/ranks.h"

#include "runtime/launcher.h"

#include <limits.h>
#include <mpi.h>
#include <stdio.h>

enum { SUM_TAG = 1 };

static bool joined(void) {
  int begun = 0, ended = 0;
  MPI_Initialized(&begun);
  MPI_Finalized(&ended);
  return begun && !ended;
}

// Errors of MPI end the program: its default, and all that can be done when other processes are gone.
bool ranks_begin(status *st) {
  launcher_part p;
  int got = 0, size = 0;
  if (!launcher_find(&p) || p.count == 1) return true;
  if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &got) != MPI_SUCCESS || got < MPI_THREAD_FUNNELED)
    return status_fail(st, CODE_CONFIG, "this MPI cannot serve a program with threads (MPI_THREAD_FUNNELED)");
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if ((u32)size == p.count) return true;
  return status_fail(st, CODE_CONFIG,
                     "%s: the launcher started %u processes, but %d of them found each other; use the launcher of the "
                     "MPI that weft was built with",
                     p.found, p.count, size);
}

void ranks_end(void) {
  if (joined()) MPI_Finalize();
}

u32 ranks_index(void) {
  int rank = 0;
  if (joined()) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return (u32)rank;
}

u32 ranks_count(void) {
  int size = 1;
  if (joined()) MPI_Comm_size(MPI_COMM_WORLD, &size);
  return (u32)size;
}

bool ranks_meet(status_code *stop, status *st) {
  if (!joined()) return status_ok(st);
  const int rank = (int)ranks_index();
  int own[2] = {stop ? (int)*stop : CODE_OK, status_ok(st) ? INT_MIN : -rank}, all[2];
  MPI_Allreduce(own, all, 2, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  if (stop) *stop = (status_code)all[0];
  if (all[1] == INT_MIN) return true;
  const int first = -all[1];
  status theirs = *st;
  MPI_Bcast(&theirs, (int)sizeof theirs, MPI_BYTE, first, MPI_COMM_WORLD);
  if (!status_ok(st)) return false;
  return first == 0 ? status_fail(st, theirs.code, "%s", theirs.text)
                    : status_fail(st, theirs.code, "rank %d: %s", first, theirs.text);
}

bool ranks_same(u64 value) {
  if (!joined()) return true;
  u64 both[2] = {value, ~value}, all[2]; // the largest, and the complement of the smallest
  MPI_Allreduce(both, all, 2, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD);
  return all[0] == ~all[1];
}

static int number(size_t count) {
  require(count <= INT_MAX);
  return (int)count;
}

static void receive(void *user, float *ret_values, size_t count) {
  (void)user;
  MPI_Recv(ret_values, number(count), MPI_FLOAT, (int)ranks_index() - 1, SUM_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void send(void *user, const float *values, size_t count) {
  (void)user;
  MPI_Send(values, number(count), MPI_FLOAT, (int)ranks_index() + 1, SUM_TAG, MPI_COMM_WORLD);
}

static void share(void *user, float *values, size_t count) {
  (void)user;
  MPI_Bcast(values, number(count), MPI_FLOAT, (int)ranks_count() - 1, MPI_COMM_WORLD);
}

static void gather(void *user, double *values, size_t count) {
  (void)user;
  MPI_Allreduce(MPI_IN_PLACE, values, number(count), MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
}

const execute_ranks *ranks_exchange(arena *a) {
  if (ranks_count() == 1) return NULL;
  execute_ranks *k = arena_array(a, execute_ranks, 1);
  *k = (execute_ranks){.rank = ranks_index(),
                       .ranks = ranks_count(),
                       .receive = receive,
                       .send = send,
                       .share = share,
                       .gather = gather};
  return k;
}
