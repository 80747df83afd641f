// Routers: each link takes one wavelet a cycle, colors take turns, a blocked color blocks no other, and a
// wavelet leaves by all its ports, each when it is free.
#include "sim/fabric/fabric_state.h"

static u32 port_index(u32 port) {
  return (u32)__builtin_ctz(port);
}

u32 fabric_opposite(u32 port) {
  static const u8 across[] = {PORT_SOUTH, PORT_WEST, PORT_NORTH, PORT_EAST};
  return across[port_index(port)];
}

// Something has changed that a PE waits for to send.
static void tell_sender(strip *s, u32 router, lane *l) {
  if (!(l->edge & PORT_RAMP)) return;
  l->edge &= (u8)~PORT_RAMP;
  fabric_wake(s, s->unit_of[router], s->now + 1);
}

// A router of another strip is asked again in the cycle whose moves are decided next.
static void tell_across(strip *s, u32 router, u32 color) {
  bool after = router >= s->first_router;
  u32 first = after ? s->after->first_router : s->first_router - s->line;
  s->told[after][router - first] |= 1u << color;
  s->told_any[after] = true;
}

// There may be room for what the neighbours have.
static void tell_neighbours(strip *s, u32 router, u32 color, u64 cycle) {
  const lane *l = lane_at(s, router, color);
  for (u32 ports = l->rx & ~(u32)(l->edge | PORT_RAMP); ports; ports &= ports - 1) {
    u32 other = router + s->offset[port_index(ports)];
    if (router_is_own(s, other))
      router_ask(s, other, color, (u32)cycle);
    else
      tell_across(s, other, color);
  }
}

const df_route *router_aim(strip *s, u32 router, u32 color, u32 position) {
  lane *l = lane_at(s, router, color);
  const df_route *r = &s->d->routes[s->lane_facts[(size_t)router * s->colors + color].route];
  l->position = (u8)position;
  l->rx = r->positions[position].rx;
  l->tx = r->positions[position].tx;
  l->inputs = (u8)__builtin_popcount(l->rx);
  return r;
}

void router_set_position(strip *s, u32 router, u32 color, u32 position, u64 cycle) {
  lane *l = lane_at(s, router, color);
  router_aim(s, router, color, position);
  if (s->watch) watch_position(s, router, color);
  tell_sender(s, router, l);
  tell_neighbours(s, router, color, cycle);
}

// A control wavelet has left: what waits behind it goes where the new position says.
static void lane_turn(strip *s, u32 router, u32 color) {
  lane *l = lane_at(s, router, color);
  const df_route *r = &s->d->routes[s->lane_facts[(size_t)router * s->colors + color].route];
  if (r->position_count < 2) return;
  if (l->position + 1u < r->position_count)
    router_set_position(s, router, color, l->position + 1u, s->now + 1);
  else if (r->ring)
    router_set_position(s, router, color, 0, s->now + 1);
  for (u32 i = 0; i < l->count; i++) l->q[(l->head + i) % LANE_DEPTH].tx = l->tx;
}

// A wavelet has left the last router of a pipe: when it was the only one inside, the pipe closes again.
static void leave_pipe(strip *s, u32 index) {
  pipe *p = &s->pipes[index];
  if (--p->inside == 0) p->open = false;
}

static void lane_pop(strip *s, const move *m) {
  lane *l = &s->lanes[m->from];
  bool control = l->q[l->head].control;
  if (l->count + l->inputs > LANE_DEPTH) tell_neighbours(s, m->router, m->color, s->now + 1);
  l->head = (u8)((l->head + 1) % LANE_DEPTH);
  l->count--;
  tell_sender(s, m->router, l);
  if (control) lane_turn(s, m->router, m->color);
  if (l->count) {
    const wave *w = &l->q[l->head];
    l->pending = w->tx;
    router_ask(s, m->router, m->color, wave_is_due(w, s->now + 1) ? (u32)s->now + 1 : w->ready);
  } else {
    s->lane_mask[m->router] &= ~(1u << m->color);
    s->asks[m->router] &= ~(1u << m->color);
  }
  u32 pipe_of = s->pipe_count ? s->lane_facts[m->from].pipe_of : NOBODY;
  if (pipe_of != NOBODY) leave_pipe(s, pipe_of);
}

u32 fabric_neighbour(const strip *s, u32 router, u32 port) {
  u32 along_x = s->turned ? s->height : 1, along_y = s->turned ? 1 : s->width;
  switch (port) {
  case PORT_NORTH:
    return router - along_y;
  case PORT_SOUTH:
    return router + along_y;
  case PORT_EAST:
    return router + along_x;
  default:
    return router - along_x;
  }
}

bool fabric_on_edge(const strip *s, u32 router, u32 port) {
  u32 x = router_x(s, router), y = router_y(s, router);
  return (port == PORT_NORTH && y == 0) || (port == PORT_SOUTH && y + 1 == s->height) ||
         (port == PORT_WEST && x == 0) || (port == PORT_EAST && x + 1 == s->width);
}

static u32 output_port(const strip *s, u32 router, u32 port, u32 color) {
  u32 at = s->port_of[router * 4 + port_index(port)];
  while (s->ports[at].lane != color) at = s->ports[at].next;
  return at;
}

bool router_find_place(strip *s, u32 router, u32 color, u32 port, move *ret_move) {
  const lane *l = lane_at(s, router, color);
  *ret_move = (move){
      .from = router * s->colors + color, .router = router, .pipe = NOBODY, .port = (u8)port, .color = (u8)color};
  if (port == PORT_RAMP) {
    ret_move->kind = MOVE_RAMP;
    ret_move->to = l->queue;
    return s->queues[l->queue].count < s->queue_words;
  }
  if (l->edge & port) {
    ret_move->kind = MOVE_HOST;
    ret_move->to = output_port(s, router, port, color);
    return true;
  }
  ret_move->kind = MOVE_LINK;
  ret_move->target = router + s->offset[port_index(port)];
  ret_move->to = ret_move->target * s->colors + color;
  const lane *next = &s->lanes[ret_move->to];
  return (next->rx & fabric_opposite(port)) && lane_has_room(s, next);
}

// Colors that ask for the same port in the same cycle.
typedef struct contest {
  u32 ports;   // that have a winner so far
  u8 turn[5];  // whose turn it was
  u32 move[5]; // of the winner
} contest;

// Each port takes turns of its own, beginning with the color after the last that won, so what happens on one
// link does not matter to another.
static void win(strip *s, contest *c, const move *m) {
  u32 index = port_index(m->port);
  u8 *turn = &s->turn[m->router * 5 + index];
  if (!(c->ports & m->port)) {
    c->ports |= m->port;
    c->turn[index] = *turn;
    c->move[index] = s->move_count++;
  } else {
    move *other = &s->moves[c->move[index]];
    u32 first = c->turn[index];
    if (((m->color - first) & 31) > ((other->color - first) & 31)) return;
  }
  s->moves[c->move[index]] = *m;
  *turn = (u8)((m->color + 1) & 31);
}

// What has no place waits to be told by the lane or queue that gets room. False where a pipe begins: there
// room comes with time.
static bool will_be_told(strip *s, const move *m) {
  if (m->kind != MOVE_LINK) return true;
  u32 index = s->lanes[m->to].pipe;
  if (index == NOBODY || s->pipes[index].open || pipe_has_room(s, index)) return true;
  router_arm(s, m->router, pipe_room_from(s, index));
  return false;
}

// A color whose head is due asks for its ports. False where nothing changes before it is told.
static bool ask(strip *s, contest *c, u32 router, u32 color, u32 ports) {
  bool goes_on = false;
  for (; ports; ports &= ports - 1) {
    move m;
    if (!router_find_place(s, router, color, ports & -ports, &m)) {
      goes_on |= !will_be_told(s, &m);
      continue;
    }
    goes_on = true;
    if (c->ports & m.port) router_arm(s, router, (u32)s->now + 1); // for the one that loses
    win(s, c, &m);
  }
  return goes_on;
}

// One cycle of one router.
static void decide(strip *s, u32 router) {
  contest c = {.ports = 0};
  for (u32 mask = s->asks[router]; mask; mask &= mask - 1) {
    u32 color = (u32)__builtin_ctz(mask);
    const lane *l = lane_at(s, router, color);
    const wave *head = &l->q[l->head];
    if (!l->count)
      s->asks[router] &= ~(1u << color); // told, but there is none
    else if (!wave_is_due(head, s->now))
      router_arm(s, router, head->ready);
    else if (!ask(s, &c, router, color, l->pending))
      s->asks[router] &= ~(1u << color);
  }
}

// Is this the hop to be spoiled? Strips are walked one after the other then.
static bool flips_now(const strip *s) {
  u64 hops = s->result.counts.hops;
  for (const strip *other = s->before; other; other = other->before) hops += other->result.counts.hops;
  for (const strip *other = s->after; other; other = other->after) hops += other->result.counts.hops;
  if (!s->flip->hops || hops < s->flip->hops) return false;
  s->flip->hops = 0;
  return true;
}

// Wavelets that come to a color in the same cycle queue in the order of their ports, whoever was moved first.
static void came_by(strip *s, u32 router, u32 color, u32 port) {
  lane *l = lane_at(s, router, color);
  if (!l->count) return; // it is in a pipe
  u32 at = l->count - 1u;
  l->q[(l->head + at) % LANE_DEPTH].rx = (u8)port;
  for (; at; at--) {
    wave *w = &l->q[(l->head + at) % LANE_DEPTH], *first = &l->q[(l->head + at - 1) % LANE_DEPTH], other = *first;
    if (other.ready != w->ready || (other.rx & ~(u32)(l->edge | PORT_RAMP)) <= port) return;
    *first = *w;
    *w = other;
  }
}

static inline void apply_link(strip *s, u32 target, u32 color, u32 port, const wave *w) {
  u32 data = w->data;
  s->result.counts.hops++;
  if (s->flip && flips_now(s)) data ^= 1u << s->flip->bit;
  lane_push(s, target, color, data, (u32)s->now + s->hop, w->control);
  if (lane_at(s, target, color)->inputs > 1 || s->watch) came_by(s, target, color, port);
}

static void apply_ramp(strip *s, const move *m, const wave *w) {
  queue *q = &s->queues[m->to];
  wave_put(&q->q[(q->head + q->count++) % QUEUE_DEPTH], w->data, (u32)s->now + s->ramp, w->control);
  s->result.received++;
  fabric_wake(s, s->unit_of[m->router], s->now + (s->ramp ? s->ramp : 1));
}

static void apply_host(strip *s, const move *m, const wave *w) {
  port_state *p = &s->ports[m->to];
  s->result.counts.hops++;
  s->result.received++;
  stretch_note(&s->result.left, s->now);
  if (!w->control && p->at < s->d->ports[m->to].wavelets) p->words[p->at++] = w->data;
  u64 there = (s->now + s->hop) * TICKS;
  if (there > s->end) s->end = there;
}

static const wave *head_of(const strip *s, const move *m) {
  const lane *l = &s->lanes[m->from];
  return m->pipe == NOBODY ? &l->q[l->head] : pipe_head(s, m->pipe);
}

static void apply(strip *s, const move *m) {
  const wave *w = head_of(s, m);
  if (s->watch) watch_pass(s, m, w);
  if (m->kind != MOVE_RAMP) load_add(s, m->router, 1);
  if (m->kind == MOVE_RAMP)
    apply_ramp(s, m, w);
  else if (m->kind == MOVE_HOST)
    apply_host(s, m, w);
  else if (router_is_own(s, m->target))
    apply_link(s, m->target, m->color, fabric_opposite(m->port), w);
  if (m->pipe != NOBODY) {
    pipe_pop(s, m->pipe);
    return;
  }
  lane *l = &s->lanes[m->from];
  l->pending &= (u8)~m->port;
  if (!l->pending)
    lane_pop(s, m);
  else
    router_ask(s, m->router, m->color, (u32)s->now + 1);
}

// What the neighbours' cycle has left for this strip's first and last line.
static void take_told(strip *s, strip *from, u32 side, u32 first) {
  if (!from || !from->told_any[side]) return;
  from->told_any[side] = false;
  for (u32 i = 0; i < s->line; i++) {
    for (u32 mask = from->told[side][i]; mask; mask &= mask - 1)
      router_ask(s, first + i, (u32)__builtin_ctz(mask), (u32)s->now);
    from->told[side][i] = 0;
  }
}

// The neighbours take these themselves, in the next step: then the head may be gone.
static void list_crossings(strip *s) {
  s->across_count[0] = s->across_count[1] = 0;
  for (u32 i = 0; i < s->move_count; i++) {
    const move *m = &s->moves[i];
    if (m->kind != MOVE_LINK || router_is_own(s, m->target)) continue;
    bool after = m->target >= s->first_router;
    s->across[after][s->across_count[after]++] = (crossing){m->target, m->color, *head_of(s, m)};
  }
}

// What the routers after this one will look at: their first lane, and where its head goes.
static void fetch_lanes(strip *s, const bit_list *armed, u32 at) {
  if (at + 4 < armed->count) {
    u32 router = armed->at[at + 4], asks = s->asks[router];
    if (asks) fetch(lane_at(s, router, (u32)__builtin_ctz(asks)));
  }
  if (at + 2 < armed->count) {
    u32 router = armed->at[at + 2], asks = s->asks[router];
    const lane *l = asks ? lane_at(s, router, (u32)__builtin_ctz(asks)) : NULL;
    if (!l || !l->pending) return;
    u32 port = port_index(l->pending);
    if (port == 4)
      fetch(&s->queues[l->queue]);
    else if (!(l->edge >> port & 1))
      fetch(lane_at(s, router + s->offset[port], (u32)__builtin_ctz(asks)));
  }
}

void router_decide(strip *s) {
  take_told(s, s->before, 1, s->first_router);
  take_told(s, s->after, 0, s->first_router + s->router_count - s->line);
  s->move_count = 0;
  pipes_decide(s);
  u64 *on = s->router_on[s->now % ROUTER_WHEEL];
  u32 words = (s->router_count + 63) / 64;
  bit_list armed;
  for (u32 i = 0; i < words; i++) {
    if (!on[i]) continue;
    bits_list(on[i], s->first_router + i * 64, &armed);
    on[i] = 0;
    s->work += armed.count;
    for (u32 k = 0; k < armed.count; k++) {
      fetch_lanes(s, &armed, k);
      decide(s, armed.at[k]);
    }
  }
  s->work += s->move_count;
  if (s->move_count) s->progress = true;
  if (s->before || s->after) list_crossings(s);
}

static void take_across(strip *s, const strip *from, u32 side) {
  u32 port = side ? (s->turned ? PORT_WEST : PORT_NORTH) : s->turned ? PORT_EAST : PORT_SOUTH;
  for (u32 i = 0; from && i < from->across_count[side]; i++) {
    const crossing *c = &from->across[side][i];
    apply_link(s, c->target, c->color, port, &c->wave);
  }
}

static void fetch_move(const strip *s, const move *m) {
  fetch(&s->lanes[m->from]);
  if (m->kind == MOVE_LINK) fetch(&s->lanes[m->to]);
  if (m->kind == MOVE_RAMP) fetch(&s->queues[m->to]);
}

void router_move(strip *s) {
  for (u32 i = 0; i < s->move_count; i++) {
    if (i + 4 < s->move_count) fetch_move(s, &s->moves[i + 4]);
    apply(s, &s->moves[i]);
  }
  take_across(s, s->before, 1);
  take_across(s, s->after, 0);
  s->move_count = 0;
}
