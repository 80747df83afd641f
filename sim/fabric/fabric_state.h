// The state of a running fabric: structs of arrays in one sealed arena, indices instead of pointers.
//
//   lanes    router x color used: a buffer of wavelets and where the color goes from here
//   units    PEs that have code: registers, the running task, vector instructions, input queues
//   memory   data bytes of each unit, one after the other
//   strips   rows of the grid: who is due when, moves, counts; one thread at a time has one
#pragma once

#include "sim/fabric/fabric.h"

#include <stdatomic.h>

enum {
  COLORS_MAX = 32,
  LANE_DEPTH = 4,   // wavelets of one color in one router: full rate needs one more than the hop takes
  QUEUE_DEPTH = 8,  // room of an input queue; the machine's queue_words of it are used
  TICKS = 1024,     // per cycle: rates are fractions
  LOOPS_MAX = 4,    // nested
  PIPE_SHORTEST = 3, // routers that are worth a pipe
  ROUTER_WHEEL = 4, // cycles ahead, a power of two
  UNIT_WHEEL = 16,
  SLICE_CYCLES = 8, // of a memory instruction before another thread has its turn
  STRIPS_MAX = 64,
  NOBODY = 0xffffffffu,
};
#define NEVER UINT64_MAX

typedef struct wave {
  u32 data;
  u32 ready; // cycle, low 32 bits
  u8 tx;     // ports that it leaves by, taken when it came
  bool control;
  u8 rx;     // port that it came by, where colors merge or somebody watches; 0: not noted
} wave;

// One cache line: what a hop touches.
typedef struct lane {
  wave q[LANE_DEPTH];
  u8 head, count;
  u8 pending; // ports that the head still has to leave by
  u8 rx, tx, inputs;
  u8 position;
  u8 edge;   // ports of the router that point off the grid; PORT_RAMP: the PE waits for room here
  u32 pipe;  // that begins here; NOBODY
  u32 queue; // of the router's PE for this color; NOBODY
} lane;
_Static_assert(sizeof(lane) == 64, "a lane is a cache line");

typedef struct lane_facts {
  u32 route;   // NOBODY: the color does not pass here
  u32 pipe_of; // whose last router this is; NOBODY
} lane_facts;

// A run of routers in which nothing interferes with a color: pipe.c.
typedef struct pipe {
  u32 first, last, length; // routers
  u8 color;
  bool open;        // its wavelets lie in the routers' lanes
  u32 inside;       // while open: how many
  u32 head, count, room;
  u64 places;       // of its ring
  u64 passed;       // wavelets that left it by its end
} pipe;

typedef struct operand {
  u8 kind, type, color; // color: dense index
  u32 address, wrap;
  i32 stride, outer;
} operand;

// A vector instruction on its way.
typedef struct thread {
  bool finishing;
  u16 opcode;
  u8 done;
  u16 done_task;
  u8 per_wavelet;    // elements per step: 2 where a 16-bit operand is on the fabric
  bool has_in, has_out;
  bool awaits_factor; // b[0] comes as a wavelet and has not been taken; has_in until then
  bool words;        // moves whole words between memory and the fabric, one after the other
  u32 input;         // its queue, where it has one
  u32 at, length;
  u64 ready;         // tick from which it may run; finishing: when it is complete
  u32 element_ticks; // of the datapath
  u32 cost;          // row of opcode.h, for the counts
  float scalar;      // b[0] of AXPY and SCALE, the value of FILL and CONST, the sum of DOT, the largest of TOP
  i32 integer;       // FILL of I32, b[0] of EQUAL
  operand to, a, b;
} thread;

typedef struct loop {
  u32 first; // instruction after LOOP
  u16 reg;
  i32 limit;
} loop;

typedef struct queue {
  wave q[QUEUE_DEPTH];
  u8 head, count;
} queue;

// What a cycle touches comes first.
typedef struct unit {
  u64 wake;            // cycle at which it is due; NEVER: asleep
  u32 running, ending; // threads, bits; ending: has no element left, or waits for its factor: needs no datapath
  u64 datapath, ramp_out; // free from this tick on
  u64 busy;            // ticks that it has worked
  u64 main;            // tick at which the task goes on
  u32 first_thread, first_queue;
  u32 class;
  u32 task;            // running, in the class; NOBODY
  u32 next;            // instruction
  u32 heap_at;         // place in the heap, NOBODY
  u32 active, blocked; // tasks, bits
  u32 router;
  u32 data_bytes;
  u64 memory; // first byte
  bool halted, last_was_route;
  u8 loop_count;
  u32 x, y;
  u32 rx, ry; // place in the region, for affine values
  i32 reg[DF_REGISTERS];
  loop loops[LOOPS_MAX];
} unit;

// Facts of a class that every unit of it asks for.
typedef struct class_facts {
  u32 threads;           // microthreads used, the task's own included
  u32 queue_count;
  u8 queue_of[COLORS_MAX];       // by dense color; 255: not received
  u8 color_of_queue[COLORS_MAX];
} class_facts;

// A bit to turn over, for tests.
typedef struct flip {
  u64 hops; // until then; 0: none
  u32 bit;
} flip;

typedef struct move {
  u32 from, to;       // lanes; `to` is a unit's queue or a port where the kind says so
  u32 router, target; // from and to which
  u32 pipe;           // that it comes out of; NOBODY
  u8 kind, port, color;
} move;
enum { MOVE_LINK, MOVE_RAMP, MOVE_HOST };

typedef struct port_state {
  u32 router, lane;
  u32 next; // output port at the same place, for another color; NOBODY
  u32 *words;
  u64 at; // wavelets so far
} port_state;

// A wavelet on its way over the border of two strips.
typedef struct crossing {
  u32 target; // router
  u8 color;
  wave wave;
} crossing;

// A vector that a register has moved out of its PE's memory: the program's fault, which ends the run.
typedef struct fault {
  u32 order; // of the PE, row by row, counted from 1; 0: none
  u32 unit, opcode, vector;
} fault;

// What the other strips read of one after its cycle, to agree on the next.
typedef struct news {
  bool progress, fault;
  u64 arrives, due;
} news;

// Some rows of the grid (or columns) and all that is in them. Every strip sees the arrays of the whole fabric; it
// writes what belongs to its own rows only. What concerns its neighbours lies in `told` and `across` until they fetch it.
typedef struct strip {
  // the whole fabric, the same in every strip
  const dataflow *d;
  const machine *m;
  u32 width, height, routers, units, colors;
  bool turned; // routers are numbered column by column: streams run along columns, and so do the cuts
  u32 line;    // routers of a row; turned: of a column
  u8 color_of[COLORS_MAX], dense_of[COLORS_MAX]; // dense <-> the program's
  u32 hop, ramp, send, queue_words;
  u32 ramp_ticks; // of one wavelet of a stream
  lane *lanes;
  lane_facts *lane_facts;
  u32 *lane_mask; // per router: colors with wavelets
  u32 *asks;      // of these, those that were not found to have no place
  u8 *turn;       // per router and port: color that is asked first
  u32 offset[4];  // from a router to its neighbour by port
  unit *unit;     // strip by strip
  u32 *unit_of;   // per router; NOBODY
  thread *threads;
  queue *queues;
  u8 *memory;
  class_facts *classes;
  pipe *pipes;
  wave *pipe_waves;
  port_state *ports;
  u32 *port_of; // per router x 4: first output port there; NOBODY
  flip *flip;
  const fabric_load *load; // NULL
  // its own
  struct strip *before, *after; // NULL at the edge of the grid
  u32 first_router, router_count, first_unit, unit_count;
  u64 *router_on[ROUTER_WHEEL]; // bits by cycle: who may have something to decide then
  u64 *unit_on[UNIT_WHEEL];     // bits by cycle: who may be due then
  u32 unit_on_count[UNIT_WHEEL];
  u32 *heap; // units due later, by (wake, index)
  u32 heap_count;
  u32 *inputs; // ports that feed its routers
  u32 input_count;
  u32 first_pipe, pipe_count;
  u64 *pipe_on;      // bits: has wavelets and is not open
  u32 *pipe_blocked; // those whose end was found blocked in this cycle
  u32 pipe_blocked_count;
  u32 *pipe_path; // scratch: routers of one pipe
  move *moves;
  u32 move_count;
  u32 *told[2]; // per router of the line across the border (0 before, 1 after): colors that it should ask again
  bool told_any[2];
  crossing *across[2]; // to the neighbour: moves of this cycle
  u32 across_count[2];
  u64 now;
  u64 arrives; // cycle in which the last wavelet under way will be where it goes
  u64 end;     // tick of the last completion
  u64 last;    // cycle in which something was done last
  u64 work;    // things looked at so far, to measure speed by
  bool progress; // something was done in this cycle
  fault fault;
  struct watch *watch; // NULL: nobody looks
  fabric_result result;
  _Alignas(64) news news;
} strip;

// Where threads meet: the last to come lets all go on.
typedef struct meeting {
  _Alignas(64) _Atomic u32 here;
  _Alignas(64) _Atomic u32 turn;
} meeting;

struct fabric {
  strip *strips;
  u32 strip_count;
  bool always; // as fabric_options
  u64 next, most; // cycle to be walked, NEVER: it is over; where to stop
  u64 stepped;
  bool enough;    // this stretch
  u32 spins;
  meeting meeting;
  flip flip;
  fabric_entry *log; // of all strips, in order; NULL: nobody has looked
  u32 log_count;
  u64 log_left_out;
};

// The set bits of a word as numbers from `first` on, so that what is looked at next is known ahead.
typedef struct bit_list {
  u32 count;
  u32 at[64];
} bit_list;

static inline void bits_list(u64 bits, u32 first, bit_list *ret) {
  ret->count = 0;
  for (; bits; bits &= bits - 1) ret->at[ret->count++] = first + (u32)__builtin_ctzll(bits);
}

// Memory that will be written soon. Large grids do not fit the caches.
static inline void fetch(const void *p) { __builtin_prefetch(p, 1); }

// watch.c: what happens, told by whoever does it; only where there is a watch, which is rare
#define RARE __attribute__((cold))
bool watch_open(fabric *f, const fabric_watch *w, arena *a, status *st);
bool watch_sees(const strip *s, u32 router);
RARE void watch_cycle(strip *s); // begins
RARE void watch_finish(fabric *f);
RARE void watch_task(strip *s, const unit *u, bool starts);
RARE void watch_vector(strip *s, const unit *u, const df_instruction *i, const thread *t); // starts
RARE void watch_vector_end(strip *s, const unit *u, u32 index);
RARE void watch_unit(strip *s, const unit *u);                    // has stepped
RARE void watch_entry(strip *s, u32 router, u32 color, u32 port); // the lane's last wavelet came by this port
RARE void watch_send(strip *s, const unit *u, u32 color, u32 data, bool control); // the same, by the PE
RARE void watch_take(strip *s, const unit *u, u32 color, const wave *w);          // out of the PE's queue
RARE void watch_pass(strip *s, const move *m, const wave *w);
RARE void watch_position(strip *s, u32 router, u32 color);

// wake.c
void fabric_wake_sooner(strip *s, u32 u, u64 cycle);
static inline void fabric_wake(strip *s, u32 u, u64 cycle) { // no later than it is due already
  if (s->unit[u].wake > cycle) fabric_wake_sooner(s, u, cycle);
}
void fabric_collect(strip *s);                // those of the heap that are due now join the bits
// router.c
void router_decide(strip *s); // what moves in this cycle
void router_move(strip *s);   // moves it
u32 fabric_neighbour(const strip *s, u32 router, u32 port);
bool fabric_on_edge(const strip *s, u32 router, u32 port); // the port points off the grid
u32 fabric_opposite(u32 port);
const df_route *router_aim(strip *s, u32 router, u32 color, u32 position); // takes the position, tells nobody
void router_set_position(strip *s, u32 router, u32 color, u32 position, u64 cycle); // seen from `cycle` on
// Where a wavelet would go by a port, if there is room for it now.
bool router_find_place(strip *s, u32 router, u32 color, u32 port, move *ret_move);
static inline lane *lane_at(strip *s, u32 router, u32 color) { return &s->lanes[(size_t)router * s->colors + color]; }

// pipe.c
bool pipes_open(fabric *f, arena *a, status *st);
void pipes_decide(strip *s);
void pipes_burst(strip *s);     // those whose end was blocked in the cycle before
void pipes_burst_all(strip *s); // every wavelet into its router
void pipes_load(strip *s);      // adds what went through pipes to the load
bool pipe_has_room(strip *s, u32 index);
u32 pipe_room_from(strip *s, u32 index); // cycle from which it has room
void pipe_push(strip *s, u32 index, u32 data, u32 ready, bool control);
void pipe_pop(strip *s, u32 index);
const wave *pipe_head(const strip *s, u32 index);

// A sender needs as many free places as the lane has inputs: all of them may send in the same cycle.
static inline bool lane_has_room(strip *s, const lane *l) {
  if (l->pipe != NOBODY && !s->pipes[l->pipe].open) return pipe_has_room(s, l->pipe);
  return l->count + l->inputs <= LANE_DEPTH;
}

static inline u32 router_at(const strip *s, u32 x, u32 y) { return s->turned ? x * s->height + y : y * s->width + x; }
static inline u32 router_x(const strip *s, u32 router) { return s->turned ? router / s->height : router % s->width; }
static inline u32 router_y(const strip *s, u32 router) { return s->turned ? router % s->height : router / s->width; }
static inline bool router_is_own(const strip *s, u32 router) { return router - s->first_router < s->router_count; }

// The router has something to decide in that cycle, or a little earlier nothing.
static inline void router_arm(strip *s, u32 router, u32 cycle) {
  u32 ahead = cycle - (u32)s->now;
  if (ahead >= ROUTER_WHEEL) ahead = (i32)ahead < 0 ? 0 : ROUTER_WHEEL - 1;
  u32 bit = router - s->first_router;
  s->router_on[((u32)s->now + ahead) % ROUTER_WHEEL][bit >> 6] |= 1ull << (bit & 63);
}

static inline void router_ask(strip *s, u32 router, u32 color, u32 cycle) {
  s->asks[router] |= 1u << color;
  router_arm(s, router, cycle);
}

// Waves are handed on field by field: a copy of one that was just written in parts makes the processor wait.
static inline void wave_put(wave *to, u32 data, u32 ready, bool control) {
  to->data = data;
  to->ready = ready;
  to->control = control;
}

// Into the router's own buffer.
static inline void lane_put(strip *s, u32 router, u32 color, u32 data, u32 ready, bool control) {
  lane *l = lane_at(s, router, color);
  require(l->count < LANE_DEPTH);
  wave *w = &l->q[(l->head + l->count) % LANE_DEPTH];
  wave_put(w, data, ready, control);
  w->tx = l->tx;
  w->rx = 0;
  if (l->count++) return; // the one before it will see to it
  l->pending = l->tx;
  s->lane_mask[router] |= 1u << color;
  router_ask(s, router, color, ready);
}

// What comes to a router from outside: into its buffer, or into the pipe that begins there.
static inline void lane_push(strip *s, u32 router, u32 color, u32 data, u32 ready, bool control) {
  u64 there = s->now + (ready - (u32)s->now);
  if (there > s->arrives) s->arrives = there;
  u32 index = lane_at(s, router, color)->pipe;
  if (index != NOBODY) {
    if (!s->pipes[index].open) {
      pipe_push(s, index, data, ready, control);
      return;
    }
    s->pipes[index].inside++;
  }
  lane_put(s, router, color, data, ready, control);
}

static inline void stretch_note(fabric_stretch *stretch, u64 cycle) {
  if (!stretch->until) stretch->from = cycle;
  stretch->until = cycle + 1;
}

static inline void load_add(const strip *s, u32 router, u64 hops) {
  if (s->load) s->load->hops[(size_t)router_y(s, router) * s->width + router_x(s, router)] += hops;
}

static inline bool wave_is_due(const wave *w, u64 now) { return (i32)(w->ready - (u32)now) <= 0; }

// A wavelet is there.
static inline bool queue_ready(const queue *q, u64 now) { return q->count && wave_is_due(&q->q[q->head], now); }

static inline u32 queue_pop(strip *s, const unit *u, u32 index) {
  queue *q = &s->queues[index];
  u32 data = q->q[q->head].data;
  u32 color = s->classes[u->class].color_of_queue[index - u->first_queue];
  if (s->watch) watch_take(s, u, color, &q->q[q->head]);
  if (q->count >= s->queue_words) router_ask(s, u->router, color, (u32)s->now); // it may wait for room
  q->head = (u8)((q->head + 1) % QUEUE_DEPTH);
  q->count--;
  return data;
}

static inline thread *thread_at(strip *s, const unit *u, u32 i) { return &s->threads[u->first_thread + i]; }

// unit.c
static inline bool unit_may_send(strip *s, const unit *u, u32 color) {
  const lane *l = lane_at(s, u->router, color);
  return u->ramp_out < (s->now + 1) * TICKS && (l->rx & PORT_RAMP) && lane_has_room(s, l);
}
// Cycle from which it is worth to ask again; NEVER: the router wakes the PE when there is room.
u64 unit_send_due(strip *s, const unit *u, u32 color);
void unit_step(strip *s, u32 u);
// thread.c
// False: that microthread is busy, or the instruction cannot be executed, which ends the run.
bool thread_start(strip *s, unit *u, const df_instruction *i, u64 from_tick);
void thread_run(strip *s, unit *u, u32 index);
u64 thread_wake(strip *s, const unit *u, const thread *t); // cycle at which it is worth a look; NEVER: an event tells
// stall.c
void stall_note_fault(strip *s, const unit *u, u32 code, u32 vector);
bool stall_report_fault(const fabric *f, status *st); // false: there is none
bool stall_is_waiting(const fabric *f); // anything
void stall_report(const fabric *f, bool stalled, status *st); // or out of cycles
// strip.c
// Cuts the grid; strips[0] holds what they share, which strips_open hands to the others once it is complete.
void strips_cut(fabric *f, u32 count, arena *a);
bool strips_open(fabric *f, arena *a, status *st);
void strip_step(strip *s, u64 cycle); // the last cycle's moves, then ports and PEs of this one
void strip_decide(strip *s);          // then, after all strips have stepped: what moves
void strips_settle(fabric *f);        // after the last cycle: every wavelet is where it belongs
// stretch.c
void stretch_run(fabric *f); // to the end, or to `most`
