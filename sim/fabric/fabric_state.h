// The state of a running fabric: structs of arrays in one sealed arena, indices instead of pointers.
//
//   lanes    router x color used: a buffer of wavelets and where the color goes from here
//   units    PEs that have code: registers, the running task, vector instructions, input queues
//   memory   data bytes of each unit, one after the other
#pragma once

#include "sim/fabric/fabric.h"

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
  NOBODY = 0xffffffffu,
};
#define NEVER UINT64_MAX

typedef struct wave {
  u32 data;
  u32 ready; // cycle, low 32 bits
  u8 tx;     // ports that it leaves by, taken when it came
  bool control;
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

typedef struct unit {
  u32 x, y, router;
  u32 class;
  u32 rx, ry;         // place in the region, for affine values
  u64 memory;         // first byte
  u32 data_bytes;
  u32 running, ending; // threads, bits; ending: has no element left, or waits for its factor: needs no datapath
  u32 first_thread, first_queue;
  i32 reg[DF_REGISTERS];
  u64 datapath, ramp_out; // free from this tick on
  u64 busy;               // ticks that the datapath has worked
  u64 main;           // tick at which the task goes on
  u32 task;           // running, in the class; NOBODY
  u32 next;           // instruction
  loop loops[LOOPS_MAX];
  u8 loop_count;
  bool halted, last_was_route;
  u32 active, blocked; // tasks, bits
  u64 wake;            // cycle at which it is due; NEVER: asleep
  u32 heap_at;         // place in the heap, NOBODY
} unit;

// Facts of a class that every unit of it asks for.
typedef struct class_facts {
  u32 threads;           // microthreads used, the task's own included
  u32 queue_count;
  u8 queue_of[COLORS_MAX];       // by dense color; 255: not received
  u8 color_of_queue[COLORS_MAX];
} class_facts;

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

struct fabric {
  const dataflow *d;
  const machine *m;
  u32 width, height, routers, units, colors;
  u8 color_of[COLORS_MAX], dense_of[COLORS_MAX]; // dense <-> the program's
  u32 hop, ramp, send, queue_words;
  u32 ramp_ticks; // of one wavelet of a stream
  lane *lanes;
  lane_facts *lane_facts;
  u32 *lane_mask; // per router: colors with wavelets
  u32 *asks;      // of these, those that were not found to have no place
  u8 *turn;       // per router and port: color that is asked first
  u64 *router_on[ROUTER_WHEEL]; // bits by cycle: who may have something to decide then
  u64 arrives;    // cycle in which the last wavelet under way will be where it goes
  u32 offset[4];  // from a router to its neighbour by port
  unit *unit;
  u32 *unit_of;   // per router; NOBODY
  thread *threads;
  queue *queues;
  u8 *memory;
  u64 *unit_on[UNIT_WHEEL]; // bits by cycle: who may be due then
  u32 unit_on_count[UNIT_WHEEL];
  u32 *heap;      // units due later, by (wake, index)
  u32 heap_count;
  class_facts *classes;
  pipe *pipes;
  u32 pipe_count, pipe_longest;
  u64 *pipe_on;     // bits: has wavelets and is not open
  wave *pipe_waves;
  u32 *pipe_path;   // scratch: routers of one pipe
  port_state *ports;
  u32 *port_of; // per router x 4: first output port there; NOBODY
  move *moves;
  u32 move_count;
  u64 now, end; // end: tick of the last completion
  bool progress; // something was done in this cycle
  u64 last;      // cycle in which something was done last
  u64 flip_at;
  u32 flip_bit;
  fabric_result result;
};

// wake.c
void fabric_wake(fabric *f, u32 u, u64 cycle); // no later than it is due already
void fabric_collect(fabric *f);                // those of the heap that are due now join the bits
// router.c
void router_step(fabric *f);
u32 fabric_neighbour(const fabric *f, u32 router, u32 port);
bool fabric_on_edge(const fabric *f, u32 router, u32 port); // the port points off the grid
u32 fabric_opposite(u32 port);
void router_set_position(fabric *f, u32 router, u32 color, u32 position, u64 cycle); // seen from `cycle` on
// Where a wavelet would go by a port, if there is room for it now.
bool router_find_place(fabric *f, u32 router, u32 color, u32 port, move *ret_move);
static inline lane *lane_at(fabric *f, u32 router, u32 color) { return &f->lanes[(size_t)router * f->colors + color]; }

// pipe.c
bool pipes_open(fabric *f, arena *a, status *st);
void pipes_step(fabric *f);
bool pipe_has_room(fabric *f, u32 index);
u32 pipe_room_from(fabric *f, u32 index); // cycle from which it has room
void pipe_push(fabric *f, u32 index, wave w);
wave pipe_pop(fabric *f, u32 index);

// A sender needs as many free places as the lane has inputs: all of them may send in the same cycle.
static inline bool lane_has_room(fabric *f, const lane *l) {
  if (l->pipe != NOBODY && !f->pipes[l->pipe].open) return pipe_has_room(f, l->pipe);
  return l->count + l->inputs <= LANE_DEPTH;
}

// The router has something to decide in that cycle, or a little earlier nothing.
static inline void router_arm(fabric *f, u32 router, u32 cycle) {
  u32 ahead = cycle - (u32)f->now;
  if (ahead >= ROUTER_WHEEL) ahead = ROUTER_WHEEL - 1;
  f->router_on[((u32)f->now + ahead) % ROUTER_WHEEL][router >> 6] |= 1ull << (router & 63);
}

static inline void router_ask(fabric *f, u32 router, u32 color, u32 cycle) {
  f->asks[router] |= 1u << color;
  router_arm(f, router, cycle);
}

// Into the router's own buffer.
static inline void lane_put(fabric *f, u32 router, u32 color, wave w) {
  lane *l = lane_at(f, router, color);
  require(l->count < LANE_DEPTH);
  w.tx = l->tx;
  l->q[(l->head + l->count) % LANE_DEPTH] = w;
  if (l->count++) return; // the one before it will see to it
  l->pending = w.tx;
  f->lane_mask[router] |= 1u << color;
  router_ask(f, router, color, w.ready);
}

// What comes to a router from outside: into its buffer, or into the pipe that begins there.
static inline void lane_push(fabric *f, u32 router, u32 color, wave w) {
  u64 there = f->now + (w.ready - (u32)f->now);
  if (there > f->arrives) f->arrives = there;
  u32 index = lane_at(f, router, color)->pipe;
  if (index == NOBODY) lane_put(f, router, color, w);
  else if (!f->pipes[index].open) pipe_push(f, index, w);
  else {
    f->pipes[index].inside++;
    lane_put(f, router, color, w);
  }
}

static inline bool wave_is_due(const wave *w, u64 now) { return (i32)(w->ready - (u32)now) <= 0; }

// A wavelet is there.
static inline bool queue_ready(const queue *q, u64 now) { return q->count && wave_is_due(&q->q[q->head], now); }

static inline wave queue_pop(fabric *f, const unit *u, u32 index) {
  queue *q = &f->queues[index];
  wave w = q->q[q->head];
  u32 color = f->classes[u->class].color_of_queue[index - u->first_queue];
  if (q->count >= f->queue_words) router_ask(f, u->router, color, (u32)f->now); // it may wait for room
  q->head = (u8)((q->head + 1) % QUEUE_DEPTH);
  q->count--;
  return w;
}

static inline thread *thread_at(fabric *f, const unit *u, u32 i) { return &f->threads[u->first_thread + i]; }

// unit.c
bool unit_may_send(fabric *f, const unit *u, u32 color);
// Cycle from which it is worth to ask again; NEVER: the router wakes the PE when there is room.
u64 unit_send_due(fabric *f, const unit *u, u32 color);
void unit_step(fabric *f, u32 u);
// thread.c
bool thread_start(fabric *f, unit *u, const df_instruction *i, u64 from_tick); // false: that microthread is busy
void thread_run(fabric *f, unit *u, u32 index);
u64 thread_wake(fabric *f, const unit *u, const thread *t); // cycle at which it is worth a look; NEVER: an event tells
// stall.c
void stall_report(const fabric *f, bool stalled, status *st); // or out of cycles
