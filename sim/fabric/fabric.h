// The living definition of the machine: every wavelet and every value of a dataflow, cycle by cycle.
#pragma once

#include "base/text.h"
#include "sim/engine.h"
#include "sim/isa/dataflow.h"

// Invariants
//  1. Nothing is allocated after fabric_open: its arena is sealed.
//  2. A cycle is: PEs step, then routers decide on the state at that moment, then all moves are applied.
//     No step of one phase sees another's effect of the same phase, so no order of PEs or routers matters,
//     nor which thread has them.
//  3. Wavelets are neither lost nor made: sent = received + left at ports + still on their way.

typedef struct fabric fabric;

typedef struct fabric_stretch { // of cycles; until 0: there was none
  u64 from, until;
} fabric_stretch;

typedef struct fabric_result {
  u64 cycles; // until the last instruction has completed and the last wavelet has arrived
  sim_counts counts;
  u64 received; // wavelets that PEs and ports took (a multicast counts at each)
  u64 stepped;  // cycles that were walked through; the others were skipped. Options may change it
  fabric_stretch entered, sent, left; // wavelets at input ports, from PEs, at output ports: from the first to the last
  u64 busy;     // that the busiest PE's vector instructions worked or were being set up, overlapping set-ups added
} fabric_result;

// A window that is looked into: PEs [x, x + w) x [y, y + h) in cycles [from, until).
typedef struct fabric_watch {
  u32 x, y, w, h;
  u64 from, until;
  u32 capacity; // entries of the log; beyond them whole cycles are left out. Each strip has room for as many
} fabric_watch;

typedef enum fabric_event {
  FABRIC_TASK_STARTS,
  FABRIC_TASK_ENDS,
  FABRIC_VECTOR_STARTS, // a vector instruction
  FABRIC_VECTOR_ENDS,
  FABRIC_WAITED_INPUT, // a vector instruction for a wavelet of `color`, in cycles [since, cycle)
  FABRIC_WAITED_ROOM,  // a vector instruction, SEND or CONTROL for room on `color`
  FABRIC_SENDS,        // the PE, a wavelet
  FABRIC_TAKES,        // the PE, a wavelet that lay in its queue since `since`
  FABRIC_PASSES,       // a wavelet leaves the router by the ports `out`; it could have since `since`
  FABRIC_TURNS,        // a color's route takes a position
  FABRIC_STANDS,       // at the end of the window: a wavelet in the router; `out` PORT_RAMP: in the PE's queue
  FABRIC_EVENT_COUNT
} fabric_event;

typedef struct fabric_entry {
  u64 cycle;
  u64 since; // when what ends began; before `cycle` for what starts: it runs already when the window opens
  u32 x, y;
  u8 kind;                      // fabric_event
  u8 color;                     // of the program
  u8 in, out;                   // ports
  u8 position;                  // of the route
  u8 thread;                    // microthread
  bool control;                 // wavelet
  bool goes_on;                 // waits still when the window closes
  u32 word;                     // of the wavelet
  u32 length;                   // elements of a vector instruction
  u32 class, task, instruction; // of the dataflow; UINT32_MAX: none
  u32 order;                    // in the log
} fabric_entry;

typedef struct fabric_load { // per PE, row by row; a run adds its own
  u64 *hops; // wavelets that left the router by a link
  u64 *busy; // cycles of the PE's vector instructions, at most those of the run
} fabric_load;

typedef struct fabric_options {
  const fabric_watch *watch; // NULL: nobody looks. No pipe leads through PEs that are watched
  bool walk; // every wavelet hop by hop, the definition; otherwise streams that nothing disturbs go through pipes
  // The grid is cut into so many strips of rows or columns, one thread each; stretches in which that is no gain are
  // walked by one thread. 0: as many as OpenMP says, but a strip has FABRIC_STRIP_WORK at least, so small grids get
  // one.
  u32 threads;
  const fabric_load *load; // NULL: nobody asks
  bool always; // for tests: threads in every stretch, gain or not
} fabric_options;
enum { FABRIC_STRIP_WORK = 2048, FABRIC_PE_WORK = 4 }; // in lanes on a route; a PE with code counts as so many

// The dataflow is checked first. The fabric lives in `a`, which is sealed; dataflow and machine must outlive
// it. NULL options: the fastest way. No option changes a result
// but `stepped`.
fabric *fabric_open(const dataflow *d, const machine *m, const fabric_options *o, arena *a, status *st);

// Memory of PE (x, y), which must be in a region; the range must lie in its class's data bytes.
void fabric_write(fabric *f, u32 x, u32 y, u32 address, const void *bytes, u32 n);
void fabric_read(const fabric *f, u32 x, u32 y, u32 address, void *ret_bytes, u32 n);
// What enters at an input port (its declared number of wavelets), and what has left at an output port.
void fabric_feed(fabric *f, u32 port, const u32 *words);
u64 fabric_drain(const fabric *f, u32 port, u32 *ret_words); // returns how many have left

// Runs to the end. A stall (nothing can move and something is waiting) is CODE_CHECK with the blocked PEs,
// colors, queues and tasks; `max_cycles` reached is CODE_CHECK too and names what still moves.
bool fabric_run(fabric *f, u64 max_cycles, fabric_result *ret_result, status *st);

// What was seen in the window, after fabric_run (a stalled one too), by cycle, row and column of the PE, then
// as it happened: a PE's doings before its router's. `ret_left_out` (may be NULL) counts what did not fit.
const fabric_entry *fabric_log(const fabric *f, u32 *ret_count, u64 *ret_left_out);
// One line about an entry, without its end.
void fabric_say(const dataflow *d, const fabric_entry *e, text *out);
const char *fabric_event_name(u32 kind);

// For tests: flips one bit of the n-th wavelet that crosses a link; which one that is depends on the options.
void fabric_flip(fabric *f, u64 nth_hop, u32 bit);
