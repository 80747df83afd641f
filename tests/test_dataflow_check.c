// dataflow_check: a good program passes, and with any one invariant broken it is refused with a sentence
// that names the place.
#include "sim/isa/dataflow.h"
#include "tests/sim_support.h"

#include <stdio.h>
#include <string.h>

// Column 0 sends to columns 1 to 3 by a multicast; the host feeds PE (0, 0) from the north and takes what
// column 3 sends east.
static const char good[] = "program good 4x2\n"
                           "class sender data=64\n"
                           "  vector words f32 memory address=0 length=8\n"
                           "  vector halves f16 memory address=32 length=4 stride=4\n"
                           "  vector row f32 memory address=0 length=2 r0=8\n"
                           "  vector step f32 memory address=0 length=1 r1=4\n"
                           "  vector plane f32 memory address=0 length=6 wrap=3 outer=16\n"
                           "  vector number i32 memory address=60 length=1\n"
                           "  vector east f32 out color=0 queue=0 length=8\n"
                           "  vector feed f32 in color=3 queue=1 length=1\n"
                           "  task main local active\n"
                           "    MOV east words thread=1 activate=next\n"
                           "    LOOP r0 4\n"
                           "      ADD row row row\n"
                           "    END\n"
                           "    SET r1 15\n"
                           "    STEP r1 -1\n"
                           "    FILL step 2\n"
                           "    SKIP_LESS r2 3 1\n"
                           "    FILL words 7\n"
                           "    AXPY plane plane step\n"
                           "    CONTROL east\n"
                           "  task next local blocked\n"
                           "    UNBLOCK next\n"
                           "    ACTIVATE main\n"
                           "    DOT step row row\n"
                           "    ADD number number number\n"
                           "  task fed data color=3 queue=1\n"
                           "    MOV step feed\n"
                           "class middle data=48\n"
                           "  vector own f32 memory address=16x length=8-4x\n"
                           "  vector west f32 in color=0 queue=0 length=8\n"
                           "  task got data color=0 queue=0\n"
                           "    MOV own west\n"
                           "  task turn control color=0 queue=0\n"
                           "    ROUTE 0 1\n"
                           "class last data=32\n"
                           "  vector west f32 in color=0 queue=2 length=8\n"
                           "  vector east f32 out color=2 queue=1 length=8\n"
                           "  task main local active\n"
                           "    MOV east west\n"
                           "    SEND east 3\n"
                           "    HALT\n"
                           "region 0,0 1x2 class=sender\n"
                           "region 1,0 2x2 class=middle\n"
                           "region 3,0 1x2 class=last\n"
                           "route 0,0 1x2 color=0 ramp->east\n"
                           "route 1,0 2x2 color=0 west->east+ramp west->east\n"
                           "route 3,0 1x2 color=0 west->ramp\n"
                           "route 3,0 1x2 color=2 ramp->east\n"
                           "route 0,0 1x1 color=3 north->ramp\n"
                           "port feed in 0,0 north color=3 wavelets=1\n"
                           "port top out 3,0 east color=2 wavelets=9\n"
                           "port low out 3,1 east color=2 wavelets=9\n"
                           "symbol words f32 0,0 1x2 address=0 count=8\n"
                           "symbol kept f32 1,0 2x2 address=0 count=12\n";

// The text with its only `from` replaced.
static char *mutant(const char *words, const char *from, const char *to, arena *a) {
  const char *at = strstr(words, from);
  if (!at || strstr(at + 1, from)) fail_msg("\"%s\" is not there once", from);
  return arena_format(a, "%.*s%s%s", (int)(at - words), words, to, at + strlen(from));
}

static void refuse(const char *words, const char *sentence) {
  arena *a = arena_create("refuse");
  const machine m = sim_machine("mesh16", NULL);
  status st = {0};
  const dataflow d = sim_dataflow(words, a);
  const bool ok = dataflow_check(&d, &m, &st);
  if (ok) fail_msg("accepted, but should say: %s", sentence);
  support_failed(ok, &st, CODE_CONFIG, sentence);
  arena_destroy(a);
}

static void accept(const char *words) {
  arena *a = arena_create("accept");
  const machine m = sim_machine("mesh16", NULL);
  status st = {0};
  const dataflow d = sim_dataflow(words, a);
  support_ok(dataflow_check(&d, &m, &st), &st);
  arena_destroy(a);
}

typedef struct mutation {
  const char *from, *to, *sentence;
} mutation;

static void refuse_all(const mutation *all, u32 count) {
  arena *a = arena_create("mutants");
  accept(good);
  for (u32 i = 0; i < count; i++) refuse(mutant(good, all[i].from, all[i].to, a), all[i].sentence);
  arena_destroy(a);
}

static void accept_all(const mutation *all, u32 count) {
  arena *a = arena_create("mutants");
  for (u32 i = 0; i < count; i++) accept(mutant(good, all[i].from, all[i].to, a));
  arena_destroy(a);
}

// ---- 1: what each instruction may be given

static void operands_suit_the_instruction(void **state) {
  (void)state;
  static const mutation all[] = {
      {"MOV step feed", "MOV feed step", "class sender, task fed, instruction 0 (MOV) writes to feed, which receives"},
      {"MOV own west", "MOV own own", "class middle, task got is started by queue 0 and never receives from it"},
      {"MOV east west", "MOV east east", "class last, task main, instruction 0 (MOV) reads east, which sends"},
      {"AXPY plane plane step", "AXPY east plane step", "(AXPY) changes east in place, which is not in memory"},
      {"DOT step row row", "TOP feed row", "(TOP) writes to feed, which receives"},
      {"    FILL step 2\n", "    TOP east row\n", "(TOP) changes east in place, which is not in memory"},
      {"AXPY plane plane step", "AXPY plane feed feed", "(AXPY) receives twice, through feed and feed"},
      {"AXPY plane plane step", "AXPY plane plane east", "(AXPY) reads east, which sends"},
      {"ADD number number number", "EQUAL number number number", "(EQUAL) writes numbers to number, an i32"},
      {"ADD number number number", "EQUAL step number words", "(EQUAL) compares words, which is not i32"},
      {"ADD number number number", "EQUAL step words number", "(EQUAL) compares words, which is not i32"},
      {"ADD number number number", "TOP number number", "(TOP) does not work on integers"},
      {"ADD number number number", "EXP number number", "(EXP) does not work on integers"},
      {"ADD number number number", "LOG number words", "mixes integers and numbers in number and words"},
      {"ADD number number number", "CONST number 5", "(CONST) does not work on integers"},
      {"AXPY plane plane step", "ADD plane feed feed", "(ADD) receives twice, through feed and feed"},
      {"DOT step row row", "DOT halves row row", "task next, instruction 2 (DOT) sums into halves, which is not f32"},
      {"ADD number number number", "MUL number number number", "(MUL) does not work on integers"},
      {"ADD number number number", "ADD number words words", "mixes integers and numbers in number and words"},
      {"vector east f32 out color=2", "vector east f16 out color=2",
       "receives and sends wavelets of different width, west and east"},
      {"CONTROL east", "CONTROL words", "class sender, task main, instruction 10 (CONTROL) sends through words"},
      {"ACTIVATE main", "ACTIVATE fed", "(ACTIVATE): task fed is started by wavelets only"},
      {"task fed data", "task fed data active", "task fed is active at the start, but only a wavelet starts it"},
      {"    FILL step 2\n", "    MOV step step thread=8\n", "runs on microthread 8, a PE has 8"},
      {"UNBLOCK next", "UNBLOCK next thread=1", "(UNBLOCK) is no vector instruction"},
      {"SKIP_LESS r2 3 1", "SKIP_LESS r2 3 4", "instruction 7 (SKIP_LESS) skips past the end of its task"},
      {"    FILL step 2\n", "    END\n", "instruction 6 (END) ends no loop"},
      {"    END\n", "", "class sender, task main has a loop without an end"},
      {"    SET r1 15\n", "    LOOP r1 2\n    LOOP r1 2\n    END\n    END\n",
       "(LOOP) counts in r1, which a loop around it counts in"},
      {"    MOV east words thread=1 activate=next\n", "    SKIP 2\n", "(SKIP) skips into or out of a loop"},
      {"    SET r1 15\n", "LOOP r1 1\nLOOP r2 1\nLOOP r3 1\nLOOP r4 1\nLOOP r5 1\nEND\nEND\nEND\nEND\nEND\n",
       "loops nest at most 4 deep"},
  };
  refuse_all(all, COUNT_OF(all));
}

// What a text cannot say wrong is broken in the arrays. Each function breaks one thing.
typedef struct parts {
  df_class classes[3];
  df_vector vectors[16];
  df_task tasks[8];
  df_instruction instructions[32];
  df_region regions[3];
  df_route routes[8];
  df_port ports[4];
  df_symbol symbols[2];
  dataflow d;
} parts;

static void copy_part(void *to, size_t room, const void *from, size_t bytes) {
  assert_true(bytes <= room);
  memcpy(to, from, bytes);
}
#define COPY_PART(p, name, count) copy_part((p)->name, sizeof(p)->name, d.name, (count) * sizeof *d.name)

static void take_apart(parts *p, arena *a) {
  const dataflow d = sim_dataflow(good, a);
  memset(p, 0, sizeof *p);
  COPY_PART(p, classes, d.class_count);
  COPY_PART(p, vectors, d.vector_count);
  COPY_PART(p, tasks, d.task_count);
  COPY_PART(p, instructions, d.instruction_count);
  COPY_PART(p, regions, d.region_count);
  COPY_PART(p, routes, d.route_count);
  COPY_PART(p, ports, d.port_count);
  COPY_PART(p, symbols, d.symbol_count);
  p->d = d;
  p->d.classes = p->classes;
  p->d.vectors = p->vectors;
  p->d.tasks = p->tasks;
  p->d.instructions = p->instructions;
  p->d.regions = p->regions;
  p->d.routes = p->routes;
  p->d.ports = p->ports;
  p->d.symbols = p->symbols;
}

static void whole(parts *p) {
  (void)p;
}
static void endless_name(parts *p) {
  memset(p->vectors[2].name, 'a', DF_NAME_MAX);
}
static void no_name(parts *p) {
  p->d.name[0] = 0;
}
static void odd_name(parts *p) {
  p->symbols[0].name[0] = ' ';
}
static void vectors_outside(parts *p) {
  p->classes[2].vector_count++;
}
static void vectors_left(parts *p) {
  p->classes[2].vector_count--;
}
static void tasks_overlap(parts *p) {
  p->classes[1].first_task--;
}
static void tasks_outside(parts *p) {
  p->classes[2].task_count += 9;
}
static void instructions_outside(parts *p) {
  p->tasks[5].count++;
}
static void instructions_overlap(parts *p) {
  p->tasks[1].first++;
}
static void no_class(parts *p) {
  p->regions[1].class = 3;
}
static void no_opcode(parts *p) {
  p->instructions[3].opcode = DF_OPCODE_COUNT;
}
static void no_vector(parts *p) {
  p->instructions[0].a = 8;
}
static void no_register(parts *p) {
  p->instructions[1].to = 8;
}
static void no_task(parts *p) {
  p->instructions[0].done_task = 3;
}
static void no_completion(parts *p) {
  p->instructions[0].done = 3;
}
static void no_kind(parts *p) {
  p->vectors[0].kind = 3;
}
static void no_type(parts *p) {
  p->vectors[0].type = 4;
}
static void no_moving_register(parts *p) {
  p->vectors[2].reg[1] = 9;
}
static void no_register_for_the_length(parts *p) {
  p->vectors[2].length_reg = 8;
}
static void no_trigger(parts *p) {
  p->tasks[0].trigger = 3;
}
static void no_symbol_type(parts *p) {
  p->symbols[1].type = 7;
}
static void no_position(parts *p) {
  p->routes[0].position_count = 0;
}
static void no_such_port(parts *p) {
  p->routes[0].positions[0].tx = 64;
}

static void indices_lie_inside_their_arrays(void **state) {
  (void)state;
  static const struct {
    void (*damage)(parts *p);
    const char *sentence; // NULL: accepted
  } all[] = {
      {whole, NULL},
      {endless_name, "the name of vector 2 does not end"},
      {no_name, "program 0 has the name \"\", which is no word"},
      {odd_name, "symbol 0 has the name"},
      {vectors_outside, "class 2 has vectors outside the program"},
      {vectors_left, "12 vectors, but the classes have 11"},
      {tasks_overlap, "class 1 does not begin where the one before it ends"},
      {tasks_outside, "class 2 has tasks outside the program"},
      {instructions_outside, "task 5 has instructions outside the program"},
      {instructions_overlap, "task 1 does not begin where the one before it ends"},
      {no_class, "region 1 has class 3 of 3"},
      {no_opcode, "class sender, task main, instruction 3 is unknown"},
      {no_vector, "class sender, task main, instruction 0 (MOV) names vector 8 of 8"},
      {no_register, "instruction 1 (LOOP) names register 8 of 8"},
      {no_task, "instruction 0 (MOV) names task 3 of 3"},
      {no_completion, "instruction 0 (MOV) has an unknown completion"},
      {no_kind, "class sender, vector words is of an unknown kind"},
      {no_type, "class sender, vector words is of an unknown type"},
      {no_moving_register, "vector row is moved by register 9, a PE has 8"},
      {no_register_for_the_length, "vector row is made longer by register 8, a PE has 8"},
      {no_trigger, "class sender, task main has an unknown trigger"},
      {no_symbol_type, "symbol kept is of an unknown type"},
      {no_position, "route 0 of color 0 has 0 positions, a router has 1 to 4"},
      {no_such_port, "route 0 of color 0 has a port that no router has"},
  };
  arena *a = arena_create("parts");
  const machine m = sim_machine("mesh16", NULL);
  parts *p = arena_array(a, parts, 1);
  for (u32 i = 0; i < COUNT_OF(all); i++) {
    status st = {0};
    take_apart(p, a);
    all[i].damage(p);
    const bool ok = dataflow_check(&p->d, &m, &st);
    if (all[i].sentence)
      support_failed(ok, &st, CODE_CONFIG, all[i].sentence);
    else
      support_ok(ok, &st);
  }
  arena_destroy(a);
}

static void names_are_unique(void **state) {
  (void)state;
  static const mutation all[] = {
      {"port low", "port top", "two ports are named top"},
      {"symbol kept", "symbol words", "two symbols are named words"},
  };
  refuse_all(all, COUNT_OF(all));
}

// ---- 2: rectangles

static void rectangles_stay_in_the_grid_and_apart(void **state) {
  (void)state;
  static const mutation all[] = {
      {"region 3,0 1x2", "region 3,1 1x2", "region 2, 1x2 PEs from (3, 1), leaves the grid of 4x2"},
      {"region 3,0 1x2", "region 3,0 0x2", "region 2 has no PE"},
      {"region 1,0 2x2", "region 0,0 2x2 step=2x1",
       "PE (0, 0) is in region 0 (class sender) and in region 1 (class middle)"},
      {"route 0,0 1x2 color=0", "route 0,0 2x2 step=3x1 color=0",
       "color 0 has two routes at PE (3, 0): routes 0 and 2"},
      {"symbol kept f32 1,0 2x2", "symbol kept f32 1,0 9x2", "symbol 1, 9x2 PEs from (1, 0), leaves the grid"},
      {"program good 4x2", "program good 17x2", "the program takes 17x2 PEs, the machine offers 1x1 to 16x16"},
  };
  refuse_all(all, COUNT_OF(all));
  // every second column of what the others do not hold
  arena *a = arena_create("apart");
  accept(mutant(
      good, "region 1,0 2x2 class=middle",
      "region 1,0 2x1 class=middle\nregion 1,1 1x1 step=2x1 class=middle\nregion 2,1 1x1 step=9x9 class=middle", a));
  arena_destroy(a);
}

// ---- 3: memory

static void vectors_lie_in_their_memory(void **state) {
  (void)state;
  static const mutation all[] = {
      {"address=16x length=8-4x", "address=16x length=8",
       "class middle, vector own of PE (2, 0) takes bytes 16 to 48, its class has 44"},
      {"address=16x length=8-4x", "address=-4 length=8", "vector own of PE (1, 0) takes bytes -4 to 28"},
      {"address=16x length=8-4x", "address=16x length=8-9x", "vector own has a negative length at PE (2, 0)"},
      {"length=6 wrap=3 outer=16", "length=6 wrap=3 outer=53",
       "class sender, vector plane is not aligned to its elements of 4 bytes"},
      {"length=6 wrap=3 outer=16", "length=6 wrap=3 outer=56",
       "vector plane of PE (0, 0) takes bytes 0 to 68, its class has 64"},
      {"length=6 wrap=3 outer=16", "length=6 wrap=3 outer=-4", "vector plane of PE (0, 0) takes bytes -4 to 12"},
      {"length=6 wrap=3 outer=16", "length=6 wrap=3-9y outer=16", "vector plane has a negative wrap at PE (0, 1)"},
      {"length=6 wrap=3 outer=16", "length=6 wrap=3-1y outer=32", "vector plane of PE (0, 1) takes bytes 0 to 72"},
      {"address=32 length=4 stride=4", "address=33 length=4 stride=4", "vector halves is not aligned"},
      {"address=32 length=4 stride=4", "address=32 length=4 stride=20000000", "vector halves steps by more than"},
      {"LOOP r0 4", "LOOP r0 9",
       "class sender, task main, instruction 2 (ADD), vector row of PE (0, 0) takes bytes 0 to 72"},
      {"LOOP r0 4", "LOOP r0 8+y", "vector row of PE (0, 1) takes bytes 0 to 72"},
      {"LOOP r0 4", "LOOP r0 9y", "vector row of PE (0, 1) takes bytes 0 to 72"}, // no turn at PE (0, 0)
      {"STEP r1 -1", "STEP r1 1", "instruction 6 (FILL), vector step of PE (0, 0) takes bytes 64 to 68"},
      {"SET r1 15", "SET r1 1-2y", "instruction 6 (FILL), vector step of PE (0, 1) takes bytes -8 to -4"},
      {"SET r1 15", "SET r1 2147483647+y", "(SET) has a value beyond 32 bits in its region at (0, 0)"},
      {"address=0 length=8\n  vector halves", "address=0 length=2000000000+2000000000y\n  vector halves",
       "class sender, vector words has a value beyond 32 bits"},
      {"vector east f32 out color=0 queue=0 length=8", "vector east f32 out color=0 queue=0 length=9",
       "instruction 0 (MOV) runs over 9 elements at PE (0, 0), vector words has 8"},
      {"vector west f32 in color=0 queue=0 length=8", "vector west f32 in color=0 queue=0 length=8-9x",
       "class middle, vector west has a negative length at PE (2, 0)"},
      {"length=1 r1=4", "length=0 r1=4", "runs over 1 elements at PE (0, 0), vector step has 0"},
      {"class sender data=64", "class sender data=48000", "of code and 48000 of data, a PE has 49152"},
      {"symbol kept f32 1,0 2x2 address=0 count=12", "symbol kept f32 1,0 2x2 address=0 count=13",
       "symbol kept takes bytes 0 to 52, class middle of PE (1, 0) has 48"},
      {"symbol kept f32 1,0 2x2 address=0 count=12", "symbol kept f32 1,0 2x2 address=2 count=1",
       "symbol kept is not aligned"},
  };
  arena *a = arena_create("memory");
  for (u32 i = 0; i < COUNT_OF(all); i++) {
    char *words = mutant(good, all[i].from, all[i].to, a);
    if (i == 0)
      words = mutant(mutant(words, "class middle data=48", "class middle data=44", a), "count=12", "count=11", a);
    refuse(words, all[i].sentence);
  }
  arena_destroy(a);
}

static void memory_that_is_not_touched_is_not_refused(void **state) {
  (void)state;
  static const mutation all[] = {
      {"address=16x length=8-4x", "address=48x length=8-8x", NULL}, // nothing at x = 1
      {"LOOP r0 4", "LOOP r0 8y", NULL},                            // no turn at PE (0, 0)
      {"LOOP r0 4", "LOOP r0 -5", NULL},
      {"STEP r1 -1", "STEP r1 1-y\nSTEP r1 -1", NULL},
      {"SKIP_LESS r2 3 1\n    FILL words 7", "SET r1 99\nSKIP_LESS r2 3 2\nFILL step 7\nSET r1 1", NULL}, // guarded
      {"UNBLOCK next", "STEP r1 99\nFILL step 2", NULL}, // what task main left in r1 is not known here
      {"LOOP r0 4", "LOOP r3 99\nSTEP r0 1\nADD row row row\nEND\nLOOP r0 4", NULL},
  };
  accept_all(all, COUNT_OF(all));
}

// ---- lengths by registers

#define ROW "vector row f32 memory address=0 length=2 r0=8" // in the loop over r0 of task main: ADD row row row

static void longer_vectors_are_taken_at_their_longest(void **state) {
  (void)state;
  static const mutation wrong[] = {
      {ROW, "vector row f32 memory address=0 length=14 longer=r0",
       "class sender, task main, instruction 2 (ADD), vector row of PE (0, 0) takes bytes 0 to 68, its class has 64"},
      {ROW, "vector row f32 memory address=0 length=11 longer=r0 r0=4", "vector row of PE (0, 0) takes bytes 0 to 68"},
      {ROW, "vector row f32 memory address=0 length=14-y longer=r3", NULL}, // never written: zero
      {ROW, "vector row f32 memory address=0 length=17-y longer=r3", "vector row of PE (0, 0) takes bytes 0 to 68"},
      {ROW, "vector row f32 memory address=0 length=13 longer=r0", NULL},
      {ROW, "vector row f32 memory address=0 length=-3 longer=r0", NULL}, // no element in any round
      {ROW, "vector row f32 memory address=0 length=99 longer=r1", NULL}, // r1 is another task's, or not known yet
  };
  arena *a = arena_create("longer");
  for (u32 i = 0; i < COUNT_OF(wrong); i++) {
    char *words = mutant(good, wrong[i].from, wrong[i].to, a);
    if (wrong[i].sentence)
      refuse(words, wrong[i].sentence);
    else
      accept(words);
  }
  arena_destroy(a);
}

static void longer_operands_suit_each_other(void **state) {
  (void)state;
  static const struct {
    const char *loop, *halves, *sentence; // row is a vector of 2 + r0 elements
  } all[] = {
      {"ADD row row words", "length=4", NULL},
      {"ADD words words row", "length=4", "(ADD) runs over 8 elements at PE (0, 0), vector row has 2"},
      {"ADD row row halves", "length=4", "(ADD) runs over 5 elements at PE (0, 0), vector halves has 4"},
      {"ADD row row halves", "length=5", NULL},
      {"ADD row row halves", "length=2 longer=r0", NULL},
      {"ADD row row halves", "length=1 longer=r0", "(ADD) runs over 2 elements at PE (0, 0), vector halves has 1"},
      {"ADD row row halves", "length=3 longer=r5", "vector halves has 3"}, // never written: zero
      {"ADD row row halves", "length=3 longer=r1", NULL},                  // not known here
      {"TOP step row", "length=4", NULL},
      {"AXPY row row halves", "length=0 longer=r0", "(AXPY) runs over 1 elements at PE (0, 0), vector halves has 0"},
      {"SKIP_LESS r0 1 1\nAXPY row row halves", "length=0 longer=r0", NULL}, // the skip may keep it right
  };
  arena *a = arena_create("longer");
  for (u32 i = 0; i < COUNT_OF(all); i++) {
    char *words = mutant(good, ROW, "vector row f32 memory address=0 length=2 longer=r0", a);
    words = mutant(words, "address=32 length=4 stride=4", arena_format(a, "address=32 %s stride=4", all[i].halves), a);
    words = mutant(words, "ADD row row row", all[i].loop, a);
    if (all[i].sentence)
      refuse(words, all[i].sentence);
    else
      accept(words);
  }
  arena_destroy(a);
}

// ---- 4: colors and queues

static void colors_and_queues_are_the_machines(void **state) {
  (void)state;
  static const mutation all[] = {
      {"vector feed f32 in color=3", "vector feed f32 in color=24",
       "class sender, vector feed has color 24, the machine routes 24"},
      {"vector feed f32 in color=3 queue=1", "vector feed f32 in color=3 queue=8",
       "class sender, vector feed has queue 8, a PE has 8 each way"},
      {"task turn control color=0", "task turn control color=99", "class middle, task turn has color 99"},
      {"task turn control color=0 queue=0", "task turn control color=0 queue=9", "task turn has queue 9"},
      {"route 0,0 1x1 color=3", "route 0,0 1x1 color=33", "route 4 has color 33, the machine routes 24"},
      {"ROUTE 0 1", "ROUTE 24 1", "names color 24 of 24"},
      {"port feed in 0,0 north color=3", "port feed in 0,0 north color=24", "port feed has color 24"},
      {"task fed data color=3 queue=1", "task fed data color=4 queue=1",
       "class sender: queue 1 serves color 3 for feed and color 4 for fed"},
      {"task turn control color=0 queue=0", "task turn control color=0 queue=5",
       "class middle: color 0 is received through queue 0 by got and through queue 5 by turn"},
      {"task turn control", "task more data color=0 queue=0\nMOV own west\ntask turn control",
       "class middle, task more and another one are both started by queue 0"},
  };
  refuse_all(all, COUNT_OF(all));
}

// ---- 5: targets

static void routes_lead_somewhere(void **state) {
  (void)state;
  static const mutation all[] = {
      {"route 3,0 1x2 color=0 west->ramp", "route 3,0 1x2 color=0 west->ramp+south",
       "color 0 goes south from PE (3, 0) to PE (3, 1), which does not take it from the north"},
      {"route 3,0 1x2 color=0 west->ramp\n", "",
       "color 0 goes east from PE (2, 0) to PE (3, 0), which does not take it from the west"},
      {"port low out 3,1 east color=2 wavelets=9\n", "",
       "color 2 leaves the grid at PE (3, 1) to the east, where no port takes it"},
      {"color=3 north->ramp", "color=3 north->ramp+north", "color 3 leaves the grid at PE (0, 0) to the north"},
      {"color=3 north->ramp", "color=3 north->none", "color 3 ends nowhere: PE (0, 0) takes it in"},
      {"color=3 north->ramp", "color=3 south->ramp",
       "port feed: the route of color 3 at PE (0, 0) takes nothing from there"},
      {"port top out 3,0 east color=2", "port top out 3,0 east color=0",
       "port top: the route of color 0 at PE (3, 0) does not lead there"},
      {"port top out 3,0 east", "port top out 3,0 west", "port top of PE (3, 0) does not point off the grid"},
      {"port top out 3,0 east", "port top out 3,0 ramp", "port top of PE (3, 0) does not point off the grid"},
      {"port top out 3,0", "port top out 4,0", "port top is at PE (4, 0), outside the grid of 4x2"},
      {"port low out 3,1", "port low out 3,0", "ports top and low are the same place and color 2"},
      {"ROUTE 0 1", "ROUTE 0 1+x",
       "class middle, task turn gives color 0 position 2 at PE (2, 0), where its route has 2"},
      {"ROUTE 0 1", "ROUTE 5 0", "gives color 5 position 0 at PE (1, 0), where its route has 0"},
  };
  refuse_all(all, COUNT_OF(all));
}

// ---- 6: ramps

static void ramps_have_readers_and_writers_have_routes(void **state) {
  (void)state;
  static const mutation all[] = {
      {"    MOV step feed\n", "    MOV step words\n",
       "class sender, task fed is started by queue 1 and never receives"},
      {"color=2 ramp->east", "color=2 ramp->east+ramp",
       "color 2 is delivered to the ramp of PE (3, 0), where class last never receives it"},
      {"region 3,0 1x2 class=last", "region 3,0 1x1 class=last",
       "color 0 is delivered to the ramp of PE (3, 1), which is in no region"},
      {"route 0,0 1x2 color=0", "route 0,0 1x1 color=0",
       "class sender, task main sends on color 0, which has no route from the ramp of PE (0, 1)"},
      {"color=2 ramp->east", "color=2 west->east",
       "class last, task main sends on color 2, which has no route from the ramp of PE (3, 0)"},
      {"symbol words f32 0,0 1x2", "symbol words f32 0,0 4x2 step=1x1", NULL},
      {"    MOV own west\n", "    DOT own own west\n", NULL},
      {"    MOV step feed\n", "    AXPY step step feed\n", NULL}, // the factor is what starts the task
      {"    MOV step feed\n", "    SCALE step step feed\n", NULL},
  };
  arena *a = arena_create("ramps");
  for (u32 i = 0; i < COUNT_OF(all); i++) {
    char *words = mutant(good, all[i].from, all[i].to, a);
    if (all[i].sentence)
      refuse(words, all[i].sentence);
    else
      accept(words);
  }
  // integers compared with what is received
  char *numbers = mutant(good, "vector feed f32 in", "vector feed i32 in", a);
  accept(mutant(numbers, "MOV step feed", "EQUAL step feed number", a));
  refuse(mutant(numbers, "MOV step feed", "EQUAL step number feed", a),
         "(EQUAL) compares with feed, which is not in memory");
  // a factor of another width than what is sent
  char *scaled = mutant(good, "vector feed f32 in", "vector feed f16 in", a);
  accept(mutant(scaled, "MOV step feed", "SCALE east words feed", a));
  // a PE without a region has no memory for a symbol either
  char *hole = mutant(good, "region 3,0 1x2 class=last", "", a);
  hole = mutant(hole, "symbol words f32 0,0 1x2", "symbol words f32 0,0 4x2", a);
  refuse(hole, "symbol words: PE (3, 0) is in no region");
  arena_destroy(a);
}

// ---- 7: circles

static void colors_do_not_go_in_circles(void **state) {
  (void)state;
  // (1, 0), (2, 0), (2, 1), (1, 1) and round again, entered from (0, 0)
  static const char around[] = "route 0,0 1x1 color=1 ramp->east\n"
                               "route 1,0 1x1 color=1 west+south->east\n"
                               "route 2,0 1x1 color=1 west->south\n"
                               "route 2,1 1x1 color=1 north->west\n"
                               "route 1,1 1x1 color=1 east->north\n";
  arena *a = arena_create("circles");
  refuse(arena_format(a, "%s%s", good, around), "color 1 is routed in a circle through PE (1, 0)");
  // two PEs that throw it to and fro
  refuse(arena_format(a, "%sroute 1,0 1x1 color=1 east->east\nroute 2,0 1x1 color=1 west->west\n", good),
         "color 1 is routed in a circle through PE (1, 0)");
  // a position that switches may bring about, beside one that is harmless
  const char *turned = mutant(around, "color=1 west+south->east", "color=1 west->east west+south->east", a);
  refuse(arena_format(a, "%s%s", good, turned), "color 1 is routed in a circle through PE (1, 0)");
  // with a multicast out of it, to a PE that reads
  char *reading = mutant(good, "  task turn control",
                         "  vector back f32 in color=1 queue=3 length=8\n"
                         "  task back data color=1 queue=3\n"
                         "    MOV own back\n"
                         "  task turn control",
                         a);
  const char *read = mutant(around, "east->north", "east->ramp+north", a);
  refuse(arena_format(a, "%s%s", reading, read), "color 1 is routed in a circle through PE (1, 0)");
  // no circle: it ends in the PE, which would have to send it on itself
  const char *cut = mutant(around, "west+south->east", "west->east south->ramp", a);
  refuse(arena_format(a, "%s%s", good, cut),
         "color 1 is delivered to the ramp of PE (1, 0), where class middle never receives it");
  accept(arena_format(a, "%s%s", reading, cut));
  arena_destroy(a);
}

// ---- whole wafer

static void the_whole_wafer_is_checked_quickly(void **state) {
  (void)state;
  arena *a = arena_create("wafer");
  machine m = sim_machine("mesh16", NULL);
  m.spec.usable_width = 755;
  m.spec.usable_height = 1170;
  text words = {0};
  text_add(&words, "program wafer 755x1170\nclass c data=64\nvector v f32 memory address=0 length=8\n");
  for (u32 i = 0; i < 8; i++) text_format(&words, "vector i%u f32 in color=%u queue=%u length=8\n", i, i, i);
  text_add(&words, "task t local active\n");
  for (u32 i = 0; i < 8; i++) text_format(&words, "MOV v i%u\n", i);
  text_add(&words, "region 0,0 755x1170 class=c\n");
  for (u32 i = 0; i < 8; i++)
    text_format(&words, "route 0,0 754x1170 color=%u west->east+ramp\nroute 754,0 1x1170 color=%u west->ramp\n", i, i);
  const dataflow d = sim_dataflow(text_get(&words), a);
  status st = {0};
  const double from = clock_seconds();
  support_ok(dataflow_check(&d, &m, &st), &st);
  const double took = clock_seconds() - from;
  if (took > 20) fail_msg("%.1f s", took); // well under one, unless sanitizers and other work slow it
  text_free(&words);
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(operands_suit_the_instruction),
      cmocka_unit_test(indices_lie_inside_their_arrays),
      cmocka_unit_test(names_are_unique),
      cmocka_unit_test(rectangles_stay_in_the_grid_and_apart),
      cmocka_unit_test(vectors_lie_in_their_memory),
      cmocka_unit_test(memory_that_is_not_touched_is_not_refused),
      cmocka_unit_test(longer_vectors_are_taken_at_their_longest),
      cmocka_unit_test(longer_operands_suit_each_other),
      cmocka_unit_test(colors_and_queues_are_the_machines),
      cmocka_unit_test(routes_lead_somewhere),
      cmocka_unit_test(ramps_have_readers_and_writers_have_routes),
      cmocka_unit_test(colors_do_not_go_in_circles),
      cmocka_unit_test(the_whole_wafer_is_checked_quickly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
