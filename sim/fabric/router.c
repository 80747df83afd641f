// Routers: each link takes one wavelet a cycle, colors take turns, a blocked color blocks no other, and a
// wavelet leaves by all its ports, each when it is free.
#include "sim/fabric/fabric_state.h"

static u32 port_index(u32 port) { return (u32)__builtin_ctz(port); }

u32 fabric_opposite(u32 port) {
  static const u8 across[] = {PORT_SOUTH, PORT_WEST, PORT_NORTH, PORT_EAST};
  return across[port_index(port)];
}

// Something has changed that a PE waits for to send.
static void tell_sender(fabric *f, u32 router, lane *l) {
  if (!(l->edge & PORT_RAMP)) return;
  l->edge &= (u8)~PORT_RAMP;
  fabric_wake(f, f->unit_of[router], f->now + 1);
}

// There may be room for what the neighbours have.
static void tell_neighbours(fabric *f, u32 router, u32 color, u64 cycle) {
  const lane *l = lane_at(f, router, color);
  for (u32 ports = l->rx & ~(u32)(l->edge | PORT_RAMP); ports; ports &= ports - 1)
    router_ask(f, router + f->offset[port_index(ports)], color, (u32)cycle);
}

void router_set_position(fabric *f, u32 router, u32 color, u32 position, u64 cycle) {
  lane *l = lane_at(f, router, color);
  const df_route *r = &f->d->routes[f->lane_facts[(size_t)router * f->colors + color].route];
  l->position = (u8)position;
  l->rx = r->positions[position].rx;
  l->tx = r->positions[position].tx;
  l->inputs = (u8)__builtin_popcount(l->rx);
  tell_sender(f, router, l);
  tell_neighbours(f, router, color, cycle);
}

// A control wavelet has left: what waits behind it goes where the new position says.
static void lane_turn(fabric *f, u32 router, u32 color) {
  lane *l = lane_at(f, router, color);
  const df_route *r = &f->d->routes[f->lane_facts[(size_t)router * f->colors + color].route];
  if (r->position_count < 2) return;
  if (l->position + 1u < r->position_count) router_set_position(f, router, color, l->position + 1u, f->now + 1);
  else if (r->ring) router_set_position(f, router, color, 0, f->now + 1);
  for (u32 i = 0; i < l->count; i++) l->q[(l->head + i) % LANE_DEPTH].tx = l->tx;
}

// A wavelet has left the last router of a pipe: when it was the only one inside, the pipe closes again.
static void leave_pipe(fabric *f, u32 index) {
  pipe *p = &f->pipes[index];
  if (--p->inside == 0) p->open = false;
}

static void lane_pop(fabric *f, const move *m) {
  lane *l = &f->lanes[m->from];
  bool control = l->q[l->head].control;
  if (l->count + l->inputs > LANE_DEPTH) tell_neighbours(f, m->router, m->color, f->now + 1);
  l->head = (u8)((l->head + 1) % LANE_DEPTH);
  l->count--;
  tell_sender(f, m->router, l);
  if (control) lane_turn(f, m->router, m->color);
  if (l->count) {
    const wave *w = &l->q[l->head];
    l->pending = w->tx;
    router_ask(f, m->router, m->color, wave_is_due(w, f->now + 1) ? (u32)f->now + 1 : w->ready);
  } else {
    f->lane_mask[m->router] &= ~(1u << m->color);
    f->asks[m->router] &= ~(1u << m->color);
  }
  u32 pipe_of = f->pipe_count ? f->lane_facts[m->from].pipe_of : NOBODY;
  if (pipe_of != NOBODY) leave_pipe(f, pipe_of);
}

u32 fabric_neighbour(const fabric *f, u32 router, u32 port) {
  switch (port) {
  case PORT_NORTH:
    return router - f->width;
  case PORT_SOUTH:
    return router + f->width;
  case PORT_EAST:
    return router + 1;
  default:
    return router - 1;
  }
}

bool fabric_on_edge(const fabric *f, u32 router, u32 port) {
  u32 x = router % f->width, y = router / f->width;
  return (port == PORT_NORTH && y == 0) || (port == PORT_SOUTH && y + 1 == f->height) || (port == PORT_WEST && x == 0) ||
         (port == PORT_EAST && x + 1 == f->width);
}

static u32 output_port(const fabric *f, u32 router, u32 port, u32 color) {
  u32 at = f->port_of[router * 4 + port_index(port)];
  while (f->ports[at].lane != color) at = f->ports[at].next;
  return at;
}

bool router_find_place(fabric *f, u32 router, u32 color, u32 port, move *ret_move) {
  const lane *l = lane_at(f, router, color);
  *ret_move = (move){.from = router * f->colors + color, .router = router, .pipe = NOBODY, .port = (u8)port, .color = (u8)color};
  if (port == PORT_RAMP) {
    ret_move->kind = MOVE_RAMP;
    ret_move->to = l->queue;
    return f->queues[l->queue].count < f->queue_words;
  }
  if (l->edge & port) {
    ret_move->kind = MOVE_HOST;
    ret_move->to = output_port(f, router, port, color);
    return true;
  }
  ret_move->kind = MOVE_LINK;
  ret_move->target = router + f->offset[port_index(port)];
  ret_move->to = ret_move->target * f->colors + color;
  const lane *next = &f->lanes[ret_move->to];
  return (next->rx & fabric_opposite(port)) && lane_has_room(f, next);
}

// Colors that ask for the same port in the same cycle.
typedef struct contest {
  u32 ports;   // that have a winner so far
  u8 turn[5];  // whose turn it was
  u32 move[5]; // of the winner
} contest;

// Each port takes turns of its own, beginning with the color after the last that won, so what happens on one
// link does not matter to another.
static void win(fabric *f, contest *c, const move *m) {
  u32 index = port_index(m->port);
  u8 *turn = &f->turn[m->router * 5 + index];
  if (!(c->ports & m->port)) {
    c->ports |= m->port;
    c->turn[index] = *turn;
    c->move[index] = f->move_count++;
  } else {
    move *other = &f->moves[c->move[index]];
    u32 first = c->turn[index];
    if (((m->color - first) & 31) > ((other->color - first) & 31)) return;
  }
  f->moves[c->move[index]] = *m;
  *turn = (u8)((m->color + 1) & 31);
}

// What has no place waits to be told by the lane or queue that gets room. False where a pipe begins: there
// room comes with time.
static bool will_be_told(fabric *f, const move *m) {
  if (m->kind != MOVE_LINK) return true;
  u32 index = f->lanes[m->to].pipe;
  if (index == NOBODY || f->pipes[index].open || pipe_has_room(f, index)) return true;
  router_arm(f, m->router, pipe_room_from(f, index));
  return false;
}

// A color whose head is due asks for its ports. False where nothing changes before it is told.
static bool ask(fabric *f, contest *c, u32 router, u32 color, u32 ports) {
  bool goes_on = false;
  for (; ports; ports &= ports - 1) {
    move m;
    if (!router_find_place(f, router, color, ports & -ports, &m)) {
      goes_on |= !will_be_told(f, &m);
      continue;
    }
    goes_on = true;
    if (c->ports & m.port) router_arm(f, router, (u32)f->now + 1); // for the one that loses
    win(f, c, &m);
  }
  return goes_on;
}

// One cycle of one router.
static void router_decide(fabric *f, u32 router) {
  contest c = {.ports = 0};
  for (u32 mask = f->asks[router]; mask; mask &= mask - 1) {
    u32 color = (u32)__builtin_ctz(mask);
    const lane *l = lane_at(f, router, color);
    const wave *head = &l->q[l->head];
    if (!l->count) f->asks[router] &= ~(1u << color); // told, but there is none
    else if (!wave_is_due(head, f->now)) router_arm(f, router, head->ready);
    else if (!ask(f, &c, router, color, l->pending)) f->asks[router] &= ~(1u << color);
  }
}

static void apply_link(fabric *f, const move *m, wave w) {
  w.ready = (u32)f->now + f->hop;
  if (++f->result.counts.hops >= f->flip_at && f->flip_at) {
    w.data ^= 1u << f->flip_bit;
    f->flip_at = 0;
  }
  lane_push(f, m->target, m->color, w);
}

static void apply_ramp(fabric *f, const move *m, wave w) {
  queue *q = &f->queues[m->to];
  w.ready = (u32)f->now + f->ramp;
  q->q[(q->head + q->count++) % QUEUE_DEPTH] = w;
  f->result.received++;
  fabric_wake(f, f->unit_of[m->router], f->now + (f->ramp ? f->ramp : 1));
}

static void apply_host(fabric *f, const move *m, wave w) {
  port_state *p = &f->ports[m->to];
  f->result.counts.hops++;
  f->result.received++;
  if (!w.control && p->at < f->d->ports[m->to].wavelets) p->words[p->at++] = w.data;
  u64 there = (f->now + f->hop) * TICKS;
  if (there > f->end) f->end = there;
}

static void apply(fabric *f, const move *m) {
  lane *l = &f->lanes[m->from];
  wave w = m->pipe == NOBODY ? l->q[l->head] : pipe_pop(f, m->pipe);
  if (m->kind == MOVE_LINK) apply_link(f, m, w);
  else if (m->kind == MOVE_RAMP) apply_ramp(f, m, w);
  else apply_host(f, m, w);
  if (m->pipe != NOBODY) return;
  l->pending &= (u8)~m->port;
  if (!l->pending) lane_pop(f, m);
  else router_ask(f, m->router, m->color, (u32)f->now + 1);
}

void router_step(fabric *f) {
  f->move_count = 0;
  pipes_step(f); // before the routers: a pipe whose end blocks is walked in this cycle already
  u64 *on = f->router_on[f->now % ROUTER_WHEEL];
  u32 words = (f->routers + 63) / 64;
  for (u32 i = 0; i < words; i++) {
    u64 bits = on[i];
    on[i] = 0;
    for (; bits; bits &= bits - 1) router_decide(f, i * 64 + (u32)__builtin_ctzll(bits));
  }
  for (u32 i = 0; i < f->move_count; i++) apply(f, &f->moves[i]);
  if (f->move_count) f->progress = true;
}
