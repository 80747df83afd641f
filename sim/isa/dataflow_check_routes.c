// The verifier's look at the grid: who stands where, and where every color goes. Regions are drawn once and
// the routes of one color at a time into maps of the grid, so that each question is a look at a neighbour;
// the whole wafer with all its colors takes well under a second.
#include "sim/isa/dataflow_check.h"

#include <string.h>

enum { WAYS = 4 }; // north, east, south, west: bits 0 to 3 of the ports, and way ^ 2 is the opposite one
static const char *const way_names[WAYS] = {"north", "east", "south", "west"};

typedef struct class_colors { // a bit per color
  u64 receives, sends, switches;
} class_colors;

typedef struct grid {
  const df_checker *c;
  const dataflow *d;
  u64 pes;
  class_colors *colors; // per class
  u32 *region_of;       // per PE: index + 1, 0 where there is none
  u32 *route_of;        // of one color
  u8 *marks;            // per PE and way in, for circles
} grid;

static u32 index_of(const grid *g, df_place p) {
  return p.y * g->d->width + p.x;
}

static bool step_to(const grid *g, df_place p, u32 way, df_place *ret) {
  static const i32 dx[] = {0, 1, 0, -1}, dy[] = {-1, 0, 1, 0};
  const i64 x = (i64)p.x + dx[way], y = (i64)p.y + dy[way];
  *ret = (df_place){(u32)x, (u32)y};
  return x >= 0 && y >= 0 && x < g->d->width && y < g->d->height;
}

// ---- rectangles

static bool check_rect(const df_checker *c, const char *what, u32 index, df_rect r) {
  const bool empty = !r.w || !r.h || !r.step_x || !r.step_y;
  if (empty) return DF_REFUSE(c, "%s %u has no PE, or no step between them", what, index);
  const bool inside = r.x + (u64)(r.w - 1) * r.step_x < c->d->width && r.y + (u64)(r.h - 1) * r.step_y < c->d->height;
  return inside || DF_REFUSE(c, "%s %u, %ux%u PEs from (%u, %u), leaves the grid of %ux%u", what, index, r.w, r.h, r.x,
                             r.y, c->d->width, c->d->height);
}

static bool check_rects(const df_checker *c) {
  const dataflow *d = c->d;
  for (u32 i = 0; i < d->region_count; i++) {
    if (!check_rect(c, "region", i, d->regions[i].rect)) return false;
    if (d->regions[i].class >= d->class_count)
      return DF_REFUSE(c, "region %u has class %u of %u", i, d->regions[i].class, d->class_count);
  }
  for (u32 i = 0; i < d->route_count; i++)
    if (!check_rect(c, "route", i, d->routes[i].rect)) return false;
  for (u32 i = 0; i < d->symbol_count; i++)
    if (!check_rect(c, "symbol", i, d->symbols[i].rect)) return false;
  return true;
}

// Draws a rectangle into a map; false, and the PE, where something was drawn before.
static bool draw(const grid *g, u32 *map, df_rect r, u32 value, df_place *ret_taken) {
  for (u32 j = 0; j < r.h; j++)
    for (u32 i = 0; i < r.w; i++) {
      *ret_taken = df_place_in(r, i, j);
      u32 *at = &map[index_of(g, *ret_taken)];
      if (*at) return false;
      *at = value;
    }
  return true;
}

static bool draw_regions(const grid *g) {
  df_place p;
  for (u32 i = 0; i < g->d->region_count; i++)
    if (!draw(g, g->region_of, g->d->regions[i].rect, i + 1, &p))
      return DF_REFUSE(g->c, "PE (%u, %u) is in region %u (class %s) and in region %u (class %s)", p.x, p.y,
                       g->region_of[index_of(g, p)] - 1,
                       g->d->classes[g->d->regions[g->region_of[index_of(g, p)] - 1].class].name, i,
                       g->d->classes[g->d->regions[i].class].name);
  return true;
}

static const df_class *class_at(const grid *g, df_place p) {
  const u32 region = g->region_of[index_of(g, p)];
  return region ? &g->d->classes[g->d->regions[region - 1].class] : NULL;
}

static bool check_symbol(const grid *g, const df_symbol *s) {
  if (s->type > DF_I32) return DF_REFUSE(g->c, "symbol %s is of an unknown type", s->name);
  const u64 end = s->address + (u64)s->count * df_type_bytes(s->type);
  if (s->address % df_type_bytes(s->type)) return DF_REFUSE(g->c, "symbol %s is not aligned to its elements", s->name);
  for (u32 j = 0; j < s->rect.h; j++)
    for (u32 i = 0; i < s->rect.w; i++) {
      const df_place p = df_place_in(s->rect, i, j);
      const df_class *k = class_at(g, p);
      if (!k) return DF_REFUSE(g->c, "symbol %s: PE (%u, %u) is in no region", s->name, p.x, p.y);
      if (end > k->data_bytes)
        return DF_REFUSE(g->c, "symbol %s takes bytes %u to %llu, class %s of PE (%u, %u) has %u", s->name, s->address,
                         (unsigned long long)end, k->name, p.x, p.y, k->data_bytes);
    }
  return true;
}

// ---- what classes do with colors

static bool sends_on(const grid *g, const df_class *k, const df_instruction *i, u32 color) {
  if (!instruction_is_vector(i->opcode) && i->opcode != DF_SEND && i->opcode != DF_CONTROL) return false;
  const df_vector *to = df_operand(g->d, k, i->to);
  return to->kind == VECTOR_FABRIC_OUT && to->color == color;
}

static void learn_class(const grid *g, const df_class *k, class_colors *ret) {
  for (u32 t = 0; t < k->task_count; t++) {
    const df_task *task = &g->d->tasks[k->first_task + t];
    if (task->trigger == TRIGGER_CONTROL) ret->receives |= 1ull << task->color;
    for (u32 n = 0; n < task->count; n++) {
      const df_instruction *i = &g->d->instructions[task->first + n];
      if (i->opcode == DF_ROUTE) ret->switches |= 1ull << i->to;
      for (const char *o = instruction_operands(i->opcode); *o; o += 2) {
        if (o[0] != 'V' && o[0] != 'S') continue; // the factor of an AXPY may be received
        const df_vector *v = df_operand(g->d, k, df_field(i, o[1]));
        if (v->kind == VECTOR_FABRIC_IN) ret->receives |= 1ull << v->color;
        if (v->kind == VECTOR_FABRIC_OUT) ret->sends |= 1ull << v->color;
      }
    }
  }
}

// ---- routes

static u32 all_rx(const df_route *r) {
  u32 ports = 0;
  for (u32 i = 0; i < r->position_count; i++) ports |= r->positions[i].rx;
  return ports;
}

static u32 all_tx(const df_route *r) {
  u32 ports = 0;
  for (u32 i = 0; i < r->position_count; i++) ports |= r->positions[i].tx;
  return ports;
}

static const df_route *route_at(const grid *g, df_place p) {
  const u32 route = g->route_of[index_of(g, p)];
  return route ? &g->d->routes[route - 1] : NULL;
}

static bool check_positions(const df_checker *c, u32 index, const df_route *r) {
  if (r->color >= c->m->spec.colors)
    return DF_REFUSE(c, "route %u has color %u, the machine routes %u", index, r->color, c->m->spec.colors);
  if (!r->position_count || r->position_count > DF_POSITIONS_MAX)
    return DF_REFUSE(c, "route %u of color %u has %u positions, a router has 1 to %d", index, r->color,
                     r->position_count, DF_POSITIONS_MAX);
  for (u32 i = 0; i < r->position_count; i++) {
    if ((r->positions[i].rx | r->positions[i].tx) >= 2 * PORT_RAMP)
      return DF_REFUSE(c, "route %u of color %u has a port that no router has", index, r->color);
    if (r->positions[i].rx && !r->positions[i].tx)
      return DF_REFUSE(c, "color %u ends nowhere: PE (%u, %u) takes it in and gives it to no port", r->color, r->rect.x,
                       r->rect.y);
  }
  return true;
}

static const df_port *port_at(const grid *g, df_place p, u32 way, u32 color) {
  for (u32 i = 0; i < g->d->port_count; i++) {
    const df_port *o = &g->d->ports[i];
    if (o->out && o->x == p.x && o->y == p.y && o->port == 1u << way && o->color == color) return o;
  }
  return NULL;
}

static bool check_way(const grid *g, const df_route *r, df_place p, u32 way) {
  df_place next;
  if (!step_to(g, p, way, &next))
    return port_at(g, p, way, r->color) ||
           DF_REFUSE(g->c, "color %u leaves the grid at PE (%u, %u) to the %s, where no port takes it", r->color, p.x,
                     p.y, way_names[way]);
  const df_route *there = route_at(g, next);
  return (there && all_rx(there) >> (way ^ 2) & 1) ||
         DF_REFUSE(g->c, "color %u goes %s from PE (%u, %u) to PE (%u, %u), which does not take it from the %s",
                   r->color, way_names[way], p.x, p.y, next.x, next.y, way_names[way ^ 2]);
}

static bool check_targets(const grid *g, const df_route *r) {
  const u32 tx = all_tx(r);
  for (u32 j = 0; j < r->rect.h; j++)
    for (u32 i = 0; i < r->rect.w; i++) {
      const df_place p = df_place_in(r->rect, i, j);
      for (u32 way = 0; way < WAYS; way++)
        if (tx >> way & 1 && !check_way(g, r, p, way)) return false;
      if (!(tx & PORT_RAMP)) continue;
      const df_class *k = class_at(g, p);
      if (!k)
        return DF_REFUSE(g->c, "color %u is delivered to the ramp of PE (%u, %u), which is in no region", r->color, p.x,
                         p.y);
      if (!(g->colors[k - g->d->classes].receives >> r->color & 1))
        return DF_REFUSE(g->c, "color %u is delivered to the ramp of PE (%u, %u), where class %s never receives it",
                         r->color, p.x, p.y, k->name);
    }
  return true;
}

// ---- what PEs send and switch

static const char *sender(const grid *g, const df_class *k, u32 color) {
  for (u32 t = 0; t < k->task_count; t++) {
    const df_task *task = &g->d->tasks[k->first_task + t];
    for (u32 n = 0; n < task->count; n++)
      if (sends_on(g, k, &g->d->instructions[task->first + n], color)) return task->name;
  }
  bug_fail(__FILE__, __LINE__, "a color that a class sends, but none of its tasks");
}

static bool check_senders(const grid *g, const df_region *region, u32 color) {
  for (u32 j = 0; j < region->rect.h; j++)
    for (u32 i = 0; i < region->rect.w; i++) {
      const df_place p = df_place_in(region->rect, i, j);
      const df_route *r = route_at(g, p);
      const df_class *k = &g->d->classes[region->class];
      if (!r || !(all_rx(r) & PORT_RAMP))
        return DF_REFUSE(g->c, "class %s, task %s sends on color %u, which has no route from the ramp of PE (%u, %u)",
                         k->name, sender(g, k, color), color, p.x, p.y);
    }
  return true;
}

static bool check_switch(const grid *g, const df_region *region, const df_task *t, const df_instruction *op) {
  for (u32 j = 0; j < region->rect.h; j++)
    for (u32 i = 0; i < region->rect.w; i++) {
      const df_place p = df_place_in(region->rect, i, j);
      const df_route *r = route_at(g, p);
      const i64 position = op->value.base + (i64)i * op->value.dx + (i64)j * op->value.dy;
      if (!r || position < 0 || position >= r->position_count)
        return DF_REFUSE(g->c, "class %s, task %s gives color %u position %lld at PE (%u, %u), where its route has %u",
                         g->d->classes[region->class].name, t->name, op->to, (long long)position, p.x, p.y,
                         r ? r->position_count : 0);
    }
  return true;
}

static bool check_switches(const grid *g, const df_region *region, u32 color) {
  const df_class *k = &g->d->classes[region->class];
  for (u32 t = 0; t < k->task_count; t++) {
    const df_task *task = &g->d->tasks[k->first_task + t];
    for (u32 n = 0; n < task->count; n++) {
      const df_instruction *i = &g->d->instructions[task->first + n];
      if (i->opcode == DF_ROUTE && i->to == color && !check_switch(g, region, task, i)) return false;
    }
  }
  return true;
}

// ---- ports

static bool check_port(const grid *g, u32 index) {
  const df_port *o = &g->d->ports[index];
  if (o->x >= g->d->width || o->y >= g->d->height)
    return DF_REFUSE(g->c, "port %s is at PE (%u, %u), outside the grid of %ux%u", o->name, o->x, o->y, g->d->width,
                     g->d->height);
  if (o->color >= g->c->m->spec.colors)
    return DF_REFUSE(g->c, "port %s has color %u, the machine routes %u", o->name, o->color, g->c->m->spec.colors);
  df_place beyond;
  u32 way = 0;
  while (way < WAYS && o->port != 1u << way) way++;
  if (way == WAYS || step_to(g, (df_place){o->x, o->y}, way, &beyond))
    return DF_REFUSE(g->c, "port %s of PE (%u, %u) does not point off the grid", o->name, o->x, o->y);
  for (u32 i = 0; i < index; i++) {
    const df_port *p = &g->d->ports[i];
    if (p->x == o->x && p->y == o->y && p->port == o->port && p->color == o->color && p->out == o->out)
      return DF_REFUSE(g->c, "ports %s and %s are the same place and color %u", p->name, o->name, o->color);
  }
  return true;
}

static bool check_port_route(const grid *g, const df_port *o) {
  const df_route *r = route_at(g, (df_place){o->x, o->y});
  if (r && (o->out ? all_tx(r) : all_rx(r)) & o->port) return true;
  return DF_REFUSE(g->c, "port %s: the route of color %u at PE (%u, %u) %s", o->name, o->color, o->x, o->y,
                   o->out ? "does not lead there" : "takes nothing from there");
}

// ---- circles

// Ways out of a router for what came in by a way, in any position: switches may come to stand so.
static u32 through(const df_route *r, u32 way_in) {
  u32 ways = 0;
  for (u32 i = 0; i < r->position_count; i++)
    if (r->positions[i].rx >> way_in & 1) ways |= r->positions[i].tx;
  return ways & (PORT_RAMP - 1);
}

// Depth first along the links from (p, way_in). The mark of a place holds how far the walk has come there,
// so that it needs no stack: the next way out, and the way into the place before.
enum { MARK_SEEN = 1, MARK_NEXT = 2, MARK_BEFORE = 16, MARK_ROOT = 64, MARK_DONE = 128 };

static bool walk(const grid *g, df_place p, u32 way_in, df_place *ret_circle) {
  g->marks[(size_t)index_of(g, p) * WAYS + way_in] = MARK_SEEN | MARK_ROOT;
  while (true) {
    u8 *mark = &g->marks[(size_t)index_of(g, p) * WAYS + way_in];
    const u32 way = *mark / MARK_NEXT & 7;
    df_place next;
    if (way == WAYS) {
      *mark |= MARK_DONE;
      if (*mark & MARK_ROOT) return true;
      require(step_to(g, p, way_in, &next));
      way_in = *mark / MARK_BEFORE & 3;
      p = next;
      continue;
    }
    *mark = (u8)(*mark + MARK_NEXT);
    if (!(through(route_at(g, p), way_in) >> way & 1) || !step_to(g, p, way, &next)) continue;
    u8 *there = &g->marks[(size_t)index_of(g, next) * WAYS + (way ^ 2)];
    *ret_circle = next;
    if (*there & MARK_DONE) continue;
    if (*there) return false; // on the way we came
    *there = (u8)(MARK_SEEN | way_in * MARK_BEFORE);
    p = next;
    way_in = way ^ 2;
  }
}

static bool check_circles(const grid *g, u32 color) {
  u32 ways = 0;
  for (u32 i = 0; i < g->d->route_count; i++)
    for (u32 way = 0; g->d->routes[i].color == color && way < WAYS; way++) ways |= through(&g->d->routes[i], way);
  if ((ways & 5) != 5 && (ways & 10) != 10) return true; // a circle comes back: north and south, or east and west
  memset(g->marks, 0, g->pes * WAYS);
  for (u32 y = 0; y < g->d->height; y++)
    for (u32 x = 0; x < g->d->width; x++) {
      df_place p = {x, y}, at;
      const df_route *r = route_at(g, p);
      for (u32 way = 0; r && way < WAYS; way++)
        if (through(r, way) && !g->marks[(size_t)index_of(g, p) * WAYS + way] && !walk(g, p, way, &at))
          return DF_REFUSE(g->c, "color %u is routed in a circle through PE (%u, %u)", color, at.x, at.y);
    }
  return true;
}

// ---- all colors

static bool check_color(const grid *g, u32 color) {
  const dataflow *d = g->d;
  df_place p;
  memset(g->route_of, 0, g->pes * sizeof *g->route_of);
  for (u32 i = 0; i < d->route_count; i++)
    if (d->routes[i].color == color && !draw(g, g->route_of, d->routes[i].rect, i + 1, &p))
      return DF_REFUSE(g->c, "color %u has two routes at PE (%u, %u): routes %u and %u", color, p.x, p.y,
                       g->route_of[index_of(g, p)] - 1, i);
  for (u32 i = 0; i < d->route_count; i++)
    if (d->routes[i].color == color && !check_targets(g, &d->routes[i])) return false;
  for (u32 i = 0; i < d->region_count; i++) {
    const class_colors *k = &g->colors[d->regions[i].class];
    if (k->sends >> color & 1 && !check_senders(g, &d->regions[i], color)) return false;
    if (k->switches >> color & 1 && !check_switches(g, &d->regions[i], color)) return false;
  }
  for (u32 i = 0; i < d->port_count; i++)
    if (d->ports[i].color == color && !check_port_route(g, &d->ports[i])) return false;
  return check_circles(g, color);
}

static bool open_grid(grid *g) {
  const df_checker *c = g->c;
  const machine_spec *m = &c->m->spec;
  if (!g->d->width || !g->d->height || g->d->width > m->usable_width || g->d->height > m->usable_height)
    return DF_REFUSE(c, "the program takes %ux%u PEs, the machine offers 1x1 to %ux%u", g->d->width, g->d->height,
                     m->usable_width, m->usable_height);
  if (g->pes >= UINT32_MAX / WAYS)
    return DF_REFUSE(c, "%llu PEs are more than can be checked", (unsigned long long)g->pes);
  g->region_of = arena_take_big(c->memory, g->pes * sizeof *g->region_of, "the map of regions", c->st);
  g->route_of = arena_take_big(c->memory, g->pes * sizeof *g->route_of, "the map of routes", c->st);
  g->marks = arena_take_big(c->memory, g->pes * WAYS, "the map of circles", c->st);
  g->colors = arena_array(c->memory, class_colors, g->d->class_count + 1);
  return g->region_of && g->route_of && g->marks;
}

bool df_check_routes(const df_checker *c) {
  const dataflow *d = c->d;
  grid g = {.c = c, .d = d, .pes = (u64)d->width * d->height};
  if (!open_grid(&g) || !check_rects(c)) return false;
  for (u32 i = 0; i < d->class_count; i++) learn_class(&g, &d->classes[i], &g.colors[i]);
  if (!draw_regions(&g)) return false;
  for (u32 i = 0; i < d->symbol_count; i++)
    if (!check_symbol(&g, &d->symbols[i])) return false;
  u64 used = 0;
  for (u32 i = 0; i < d->route_count; i++) {
    if (!check_positions(c, i, &d->routes[i])) return false;
    used |= 1ull << d->routes[i].color;
  }
  for (u32 i = 0; i < d->port_count; i++) {
    if (!check_port(&g, i)) return false;
    used |= 1ull << d->ports[i].color;
  }
  for (u32 i = 0; i < d->class_count; i++) used |= g.colors[i].sends | g.colors[i].switches;
  for (u32 color = 0; color < c->m->spec.colors; color++)
    if (used >> color & 1 && !check_color(&g, color)) return false;
  return true;
}
