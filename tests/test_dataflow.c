// Dataflow programs are built, printed and read back: the text is a fixed point and keeps the hash, errors
// name their line, and the hash tells programs apart. The example of the manual is checked here too.
#include "base/embed.h"
#include "base/random.h"
#include "sim/isa/dataflow_build.h"
#include "tests/sim_support.h"

#include <stdio.h>
#include <string.h>

// Prints, reads back, prints again: equal text, equal hash.
static void round_trip(const dataflow *d) {
  arena *a = arena_create("round trip");
  text once = {0}, twice = {0};
  dataflow_print(d, &once);
  const dataflow again = sim_dataflow(text_get(&once), a);
  dataflow_print(&again, &twice);
  assert_string_equal(text_get(&once), text_get(&twice));
  assert_true(dataflow_hash(d) == dataflow_hash(&again));
  text_free(&once);
  text_free(&twice);
  arena_destroy(a);
}

// ---- the example

static void the_example_is_a_program(void **state) {
  (void)state;
  arena *a = arena_create("example");
  const machine m = sim_machine("mesh16", NULL);
  const embed_file *f = embed_find("presets/programs/chain4.weft");
  assert_non_null(f);
  dataflow d = {0};
  status st = {0};
  support_ok(dataflow_parse(f->name, (const char *)f->data, f->size, a, &d, &st), &st);
  support_ok(dataflow_check(&d, &m, &st), &st);
  assert_int_equal(d.class_count, 4);
  assert_int_equal(d.instruction_count, 5);
  // 4200 + 2 tasks x 96 + an ADD of 48 + a HALT of 8
  assert_int_equal(dataflow_code_bytes(&d, &m, 3), 4200 + 2 * 96 + 48 + 8);
  round_trip(&d);
  arena_destroy(a);
}

static void the_manual_names_every_instruction(void **state) {
  (void)state;
  text manual = {0};
  dataflow_manual(&manual);
  for (u32 i = 0; i < DF_OPCODE_COUNT; i++) {
    char row[64];
    snprintf(row, sizeof row, "\n| %s |", instruction_get(i)->name);
    assert_non_null(strstr(text_get(&manual), row));
    assert_non_null(strstr(text_get(&manual), instruction_get(i)->effect));
  }
  assert_non_null(strstr(text_get(&manual), "program chain4 4x1"));
  assert_non_null(strstr(text_get(&manual), "| CHAIN32 | copy_setup_cycles | 1 / add32_rate |"));
  assert_null(strstr(text_get(&manual), "m->"));
  text_free(&manual);
}

static void the_manual_page_is_current(void **state) {
  (void)state;
  arena *a = arena_create("page");
  text manual = {0};
  dataflow_manual(&manual);
  char *page = NULL;
  size_t size = 0;
  status st = {0};
  support_ok(file_read(WEFT_SOURCE_DIR "/docs/PROGRAM.md", a, &page, &size, &st), &st);
  assert_string_equal(page, text_get(&manual)); // weft kernel manual > docs/PROGRAM.md
  text_free(&manual);
  arena_destroy(a);
}

// ---- the builder

static void built_programs_are_laid_out(void **state) {
  (void)state;
  arena *a = arena_create("built");
  df_builder *b = df_build_begin(a, "copy2", 2, 1);
  df_build_class(b, "sender");
  const u32 words = df_build_array(b, "words", DF_F16, 7);
  const u32 out = df_build_out(b, "out", DF_F16, df_just(7), 0, 0);
  df_build_class(b, "receiver");
  const u32 in = df_build_in(b, "in", DF_F16, df_just(7), 0, 0);
  const u32 kept = df_build_array(b, "kept", DF_F16, 7);
  df_build_task(b, "main");
  df_build_start_active(b);
  const u32 end = df_build_task_index(b, "end"); // named before it is written
  df_build_op(b, df_then(df_on(df_vv(DF_MOV, kept, in), 1), DONE_ACTIVATE, end));
  df_build_task(b, "end");
  df_build_op(b, df_none(DF_HALT));
  df_build_class(b, "sender"); // opened again
  assert_int_equal(df_build_bytes(b, 4), 16);
  df_build_task(b, "main");
  df_build_start_active(b);
  const u32 skip = df_build_op(b, df_skip_less(0, df_just(1), 0)) - 1;
  df_build_op(b, df_vn(DF_FILL, words, df_just(9)));
  df_build_op(b, df_vn(DF_FILL, words, df_affine_of(3, 1, 0)));
  df_build_skip_to_here(b, skip);
  df_build_op(b, df_vv(DF_MOV, out, words));
  df_build_region(b, df_pe(0, 0), "sender");
  df_build_region(b, df_pe(1, 0), "receiver");
  df_build_route(b, df_pe(0, 0), 0, PORT_RAMP, PORT_EAST);
  df_build_position(b, PORT_RAMP, PORT_EAST);
  df_build_ring(b);
  df_build_route(b, df_pe(1, 0), 0, PORT_WEST, PORT_RAMP);
  df_build_symbol(b, "words", df_pe(0, 0), DF_F16, df_build_address(b, words), 7);
  dataflow d;
  df_build_finish(b, &d);

  const machine m = sim_machine("mesh16", NULL);
  status st = {0};
  support_ok(dataflow_check(&d, &m, &st), &st);
  assert_int_equal(d.vector_count, 4);
  assert_int_equal(d.task_count, 3);
  assert_int_equal(d.classes[1].first_vector, 2);
  assert_int_equal(d.classes[1].first_task, 1);
  assert_int_equal(d.classes[0].data_bytes, 20);
  assert_int_equal(d.tasks[1].first, 4);
  assert_int_equal(d.instructions[0].a, 2);
  assert_int_equal(d.instructions[4].done_task, 1);
  round_trip(&d);
  arena_destroy(a);
}

// ---- random programs

// Draws numbers from one stream.
typedef struct dice {
  u64 seed, at;
} dice;
static u32 roll(dice *r, u32 below) {
  return (u32)random_below(r->seed, RANDOM_TEST, 0, r->at++, below);
}
static i32 roll_signed(dice *r) {
  static const i32 special[] = {0, 1, -1, 4, INT32_MAX, INT32_MIN};
  return roll(r, 2) ? special[roll(r, COUNT_OF(special))] : (i32)roll(r, 2000) - 1000;
}
static df_affine roll_affine(dice *r) {
  df_affine v = {roll_signed(r), 0, 0};
  if (!roll(r, 3)) v.dx = roll_signed(r);
  if (!roll(r, 3)) v.dy = roll_signed(r);
  return v;
}
static df_rect roll_rect(dice *r) {
  df_rect a = {roll(r, 9), roll(r, 9), roll(r, 9), roll(r, 9), 1, 1};
  return roll(r, 2) ? df_every(a, roll(r, 4), roll(r, 4)) : a;
}
static const char *roll_name(dice *r, const char *stem, u32 at, char out[DF_NAME_MAX]) {
  static const char *const tails[] = {"", "_x", "-1.5", ".north"};
  snprintf(out, DF_NAME_MAX, "%s%u%s", stem, at, tails[roll(r, 4)]);
  return out;
}

static void roll_vectors(df_builder *b, dice *r, u32 count) {
  char name[DF_NAME_MAX];
  for (u32 i = 0; i < count; i++) {
    const df_type type = (df_type)roll(r, 4);
    roll_name(r, "v", i, name);
    const u32 kind = roll(r, 4);
    const bool longer = !roll(r, 3);
    if (kind == 0) {
      df_build_in(b, name, type, roll_affine(r), roll(r, 256), roll(r, 256));
    } else if (kind == 1) {
      df_build_out(b, name, type, roll_affine(r), roll(r, 256), roll(r, 256));
    } else {
      const u32 v = kind == 2 ? df_build_array(b, name, type, roll(r, 100))
                              : df_build_view(b, name, type, roll_affine(r), roll_affine(r));
      if (!roll(r, 2)) df_build_stride(b, v, roll_signed(r));
      if (!roll(r, 2)) df_build_rows(b, v, roll_affine(r), roll_signed(r));
      for (u32 k = roll(r, 3); k; k--) df_build_moved_by(b, v, roll(r, DF_REGISTERS), roll_signed(r));
    }
    if (longer) df_build_longer_by(b, df_build_find_vector(b, name), roll(r, DF_REGISTERS));
  }
}

static u32 roll_operand(dice *r, char what, u32 vectors, u32 tasks) {
  switch (what) {
  case 'V':
  case 'S':
    return roll(r, vectors);
  case 'T':
    return roll(r, tasks);
  case 'R':
    return roll(r, DF_REGISTERS);
  default:
    return roll(r, 65536);
  }
}

static void roll_op(df_builder *b, dice *r, u32 vectors, u32 tasks) {
  df_instruction i = {.opcode = (u16)roll(r, DF_OPCODE_COUNT)};
  for (const char *o = instruction_operands(i.opcode); *o; o += 2) {
    if (o[1] == 'n') {
      i.value = roll_affine(r);
      continue;
    }
    u16 *to = o[1] == 't' ? &i.to : o[1] == 'a' ? &i.a : &i.b;
    *to = (u16)roll_operand(r, o[0], vectors, tasks);
  }
  if (!roll(r, 3)) i.thread = (u8)roll(r, 256);
  if (!roll(r, 3)) i = df_then(i, (df_done)(1 + roll(r, 2)), roll(r, tasks));
  df_build_op(b, i);
}

static void roll_class(df_builder *b, dice *r) {
  char name[DF_NAME_MAX];
  const u32 vectors = 1 + roll(r, 20), tasks = 1 + roll(r, 12);
  roll_vectors(b, r, vectors);
  for (u32 i = 0; i < tasks; i++) {
    df_build_task(b, roll_name(r, "t", i, name));
    if (roll(r, 2)) df_build_started_by(b, (df_trigger)(1 + roll(r, 2)), roll(r, 256), roll(r, 256));
    if (roll(r, 2)) df_build_start_active(b);
    if (roll(r, 2)) df_build_start_blocked(b);
    for (u32 k = roll(r, 12); k; k--) roll_op(b, r, vectors, tasks);
  }
}

static void roll_grid(df_builder *b, dice *r, u32 classes) {
  char name[DF_NAME_MAX];
  for (u32 i = roll(r, 12); i; i--) df_build_region(b, roll_rect(r), df_build_class_name(b, roll(r, classes)));
  for (u32 i = roll(r, 12); i; i--) {
    df_build_route(b, roll_rect(r), roll(r, 256), roll(r, 32), roll(r, 32));
    for (u32 k = roll(r, DF_POSITIONS_MAX); k; k--) df_build_position(b, roll(r, 32), roll(r, 32));
    if (roll(r, 2)) df_build_ring(b);
  }
  for (u32 i = roll(r, 4); i; i--)
    df_build_port(b, roll_name(r, "p", i, name),
                  (df_port){"", roll(r, 9), roll(r, 9), (u8)(1u << roll(r, 5)), (u8)roll(r, 256), roll(r, 2),
                            (u64)roll(r, 9999) << roll(r, 40)});
  for (u32 i = roll(r, 4); i; i--)
    df_build_symbol(b, roll_name(r, "s", i, name), roll_rect(r), (df_type)roll(r, 4), roll(r, 9999), roll(r, 9999));
}

// Any program that the builder makes has a text, sensible or not; the verifier says one thing about both.
static void random_programs_round_trip(void **state) {
  (void)state;
  const machine m = sim_machine("mesh16", NULL);
  for (u64 seed = 1; seed <= 500; seed++) {
    arena *a = arena_create("random");
    dice r = {.seed = seed};
    char name[DF_NAME_MAX];
    df_builder *b = df_build_begin(a, "random", roll(&r, 20), roll(&r, 20));
    const u32 classes = 1 + roll(&r, 5);
    for (u32 i = 0; i < classes; i++) {
      df_build_class(b, roll_name(&r, "c", i, name));
      roll_class(b, &r);
    }
    roll_grid(b, &r, classes);
    dataflow d;
    df_build_finish(b, &d);
    round_trip(&d);
    text words = {0};
    dataflow_print(&d, &words);
    const dataflow again = sim_dataflow(text_get(&words), a);
    status st = {0}, st_again = {0};
    assert_int_equal(dataflow_check(&d, &m, &st), dataflow_check(&again, &m, &st_again));
    assert_string_equal(st.text, st_again.text);
    text_free(&words);
    arena_destroy(a);
  }
}

// ---- parse errors

typedef struct mistake {
  const char *words, *sentence;
} mistake;

static void mistakes_name_their_line(void **state) {
  (void)state;
#define P "program p 4x4\n"
#define C P "class c data=64\n"
#define V C "vector words f32 memory address=0 length=8\nvector west f32 in color=0 queue=0 length=8\n"
#define T V "task main local active\n"
  static const mistake all[] = {
      {"", "bad.weft:0: no program line"},
      {"# nothing\n\n", "bad.weft:2: no program line"},
      {"\nclass c data=1", "bad.weft:2: a program starts with \"program NAME WxH\", not with \"class\""},
      {"program 4x4\n", "bad.weft:1: \"4x4\" is no name: letters, digits, _ . and -, a letter first, at most 23"},
      {"program abcdefghijklmnopqrstuvwx 1x1", "bad.weft:1: \"abcdefghijklmnopqrstuvwx\" is no name"},
      {"program p\n", "bad.weft:1: the grid WxH is missing at the end"},
      {"program p 4,4\n", "bad.weft:1: \"4,4\" is not of the form 1x2"},
      {"program p 4x4294967296\n", "is not of the form 1x2"},
      {"program p 4x4 big\n", "bad.weft:1: unknown word \"big\""},
      {P P, "bad.weft:2: a second program line"},
      {P "klass c data=4", "bad.weft:2: unknown word \"klass\", did you mean \"class\"?"},
      {P "vector v f32 memory", "bad.weft:2: a vector outside a class"},
      {P "task t local", "bad.weft:2: a task outside a class"},
      {C "HALT", "bad.weft:3: an instruction outside a task"},
      {P "class c", "bad.weft:2: data= is missing"},
      {P "class c data=9999999999", "bad.weft:2: data \"9999999999\" is no number from 0 to 2147483647"},
      {P "class c data=1 data=2", "bad.weft:2: \"data\" is stated twice, or has no value"},
      {P "class c dtaa=1", "bad.weft:2: data= is missing"},
      {C "class c data=1", "bad.weft:3: class c is there twice"},
      {V "vector west f32 in color=0 queue=0 length=8", "bad.weft:5: vector west is there twice in its class"},
      {T "task main local", "bad.weft:6: task main is there twice in its class"},
      {C "vector v fp32 memory", "bad.weft:3: unknown type \"fp32\", did you mean \"f32\"?"},
      {C "vector v f32 memoy", "bad.weft:3: unknown kind of vector \"memoy\", did you mean \"memory\"?"},
      {C "vector v f32 memory length=8", "bad.weft:3: address= is missing"},
      {C "vector v f32 memory address=8- length=8", "bad.weft:3: address \"8-\" is no number of 32 bits nor a sum"},
      {C "vector v f32 memory address=4294967296 length=8", "is no number of 32 bits nor a sum like 8+2x-3y"},
      {C "vector v f32 memory address=2147483648 length=8", "is no number of 32 bits"},
      {C "vector v f32 memory address=8x9 length=8", "is no number of 32 bits nor a sum"},
      {C "vector v f32 memory address=0 length=8 stride=4x", "stride \"4x\" may not depend on x and y"},
      {C "vector v f32 memory address=0 length=8 wrap=2", "outer= is missing"},
      {C "vector v f32 memory address=0 length=8 r0=1 r1=1 r2=1", "a third register moves the vector"},
      {C "vector v f32 memory address=0 length=8 r9=1", "unknown word \"r9\", did you mean \"r0\"?"},
      {C "vector v f32 in color=256 queue=0 length=8", "color \"256\" is no number from 0 to 255"},
      {C "vector v f32 in colour=1 queue=0 length=8", "color= is missing"},
      {C "vector v f32 memory address=0 length=8 longer=3", "bad.weft:3: \"3\" is no register, they are r0 to r7"},
      {C "vector v f32 in color=1 queue=0 length=8 longer=r8", "bad.weft:3: \"r8\" is no register"},
      {C "vector v f32 memory address=0 length=8 longer=r1 longer=r2", "\"longer\" is stated twice"},
      {T "CONST words 4294967295", "the value \"4294967295\" is no number of 32 bits"},
      {C "vector v f32 memory address=0 length=8 srtide=8", "unknown word \"srtide\", did you mean \"stride\"?"},
      {C "task t lokal", "unknown trigger \"lokal\", did you mean \"local\"?"},
      {C "task t data color=1", "queue= is missing"},
      {C "task t local activ", "unknown word \"activ\", did you mean \"active\"?"},
      {T "MOOV words west", "bad.weft:6: unknown word \"MOOV\", did you mean \"MOV\"?"},
      {T "mov words west", "bad.weft:6: unknown word \"mov\", did you mean \"MOV\"?"},
      {T "MOV words", "bad.weft:6: a vector is missing at the end"},
      {T "MOV word west", "bad.weft:6: unknown vector \"word\", did you mean \"words\"?"},
      {T "MOV words west east", "bad.weft:6: unknown word \"east\""},
      {T "MOV words west thread=300", "thread \"300\" is no number from 0 to 255"},
      {T "MOV words west activate=mian", "unknown task \"mian\", did you mean \"main\"?"},
      {T "MOV words west activate=main unblock=main", "\"unblock\" is stated twice"},
      {T "LOOP r8 4", "\"r8\" is no register, they are r0 to r7"},
      {T "LOOP 8 4", "\"8\" is no register"},
      {T "LOOP r0 x+", "the value \"x+\" is no number"},
      {T "SKIP many", "count \"many\" is no number from 0 to 65535"},
      {T "BLOCK mian", "unknown task \"mian\", did you mean \"main\"?"},
      {T "ROUTE 1", "a value is missing at the end"},
      {C "region 0,0 1x1 class=d", "bad.weft:3: unknown class \"d\""},
      {C "region 0,0 1x1", "class= is missing"},
      {C "region 0,0 class=c", "\"class=c\" is not of the form 1x2"},
      {P "route 0,0 1x1 color=1", "a route without a position, such as west->east+ramp"},
      {P "route 0,0 1x1 color=1 wset->east", "unknown port \"wset\", did you mean \"west\"?"},
      {P "route 0,0 1x1 color=1 west->", "a side of a route without ports"},
      {P "route 0,0 1x1 color=1 west->east rign", "unknown word \"rign\", did you mean \"ring\"?"},
      {P "route 0,0 1x1 color=1 a->b", "unknown port \"a\""},
      {P "route 0,0 1x1 color=1 west->east west->east west->east west->east west->east", "a router has 4 positions"},
      {P "port p through 0,0 west color=0 wavelets=1", "unknown direction \"through\""},
      {P "port p in 0,0 west color=0", "wavelets= is missing"},
      {P "port p in 0,0 west color=0 wavelets=99999999999999999999", "is no number from 0 to"},
      {P "symbol s f32 0,0 1x1 address=0", "count= is missing"},
      {P "# \303\244\n\tHALT HALT\n", "bad.weft:3: an instruction outside a task"},
      {P "x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x", "bad.weft:2: more than 32 words"},
  };
  for (u32 i = 0; i < COUNT_OF(all); i++) {
    arena *a = arena_create("mistake");
    status st = {0};
    dataflow d = {.width = 77};
    const bool ok = dataflow_parse("bad.weft", all[i].words, strlen(all[i].words), a, &d, &st);
    if (ok) fail_msg("read, but should say: %s", all[i].sentence);
    support_failed(ok, &st, CODE_CONFIG, all[i].sentence);
    assert_int_equal(d.width, 77); // untouched
    arena_destroy(a);
  }
}

static void odd_bytes_are_refused(void **state) {
  (void)state;
  arena *a = arena_create("odd");
  status st = {0};
  dataflow d;
  static const char zero[] = "program p 1x1\nclass \0 data=4\n";
  support_failed(dataflow_parse("z", zero, sizeof zero - 1, a, &d, &st), &st, CODE_CONFIG,
                 "z:2: a zero byte in the line");
  char line[700];
  memset(line, ' ', sizeof line);
  status_clear(&st);
  support_failed(dataflow_parse("z", line, sizeof line, a, &d, &st), &st, CODE_CONFIG,
                 "z:1: a line of more than 511 bytes");
  // any piece of a program is read or refused, never more
  const embed_file *f = embed_find("presets/programs/chain4.weft");
  for (size_t n = 0; n < f->size; n++) {
    status_clear(&st);
    if (!dataflow_parse("cut", (const char *)f->data, n, a, &d, &st)) assert_int_equal(st.code, CODE_CONFIG);
  }
  arena_destroy(a);
}

// Names before their lines, carriage returns, no newline at the end, terms in any order.
static void the_text_is_read_freely(void **state) {
  (void)state;
  arena *a = arena_create("free");
  const dataflow d =
      sim_dataflow("\n  program p 2x2 # grid\r\nregion 0,0 1x1 step=2x3 class=late\r\nclass late data=8\n"
                   "task a local\nACTIVATE z\nMOV v v unblock=z thread=2\ntask z local\nHALT\n"
                   "vector v f32 memory length=-y+x+2 stride=-8 address=+4",
                   a);
  assert_int_equal(d.instructions[0].to, 1);
  assert_int_equal(d.vectors[0].length.base, 2);
  assert_int_equal(d.vectors[0].length.dx, 1);
  assert_int_equal(d.vectors[0].length.dy, -1);
  assert_int_equal(d.vectors[0].stride, -8);
  assert_int_equal(d.regions[0].rect.step_y, 3);
  round_trip(&d);
  arena_destroy(a);
}

// ---- the hash

static void every_word_changes_the_hash(void **state) {
  (void)state;
  static const char words[] = P
      "class c data=64\nvector v f32 memory address=0+1x+1y length=8+1x+1y stride=8 wrap=2+1x+1y outer=64 r1=4 "
      "r2=8 longer=r5\nvector i f16 in color=3 queue=2 length=8 longer=r6\nvector o i32 out color=4 queue=1 length=8\n"
      "task t data color=3 queue=2 active blocked\nMOV v i thread=1 activate=u\nAXPY v i o\nSET r2 5+1x+1y\n"
      "SKIP_LESS r3 7 2\nSKIP 3\nCONST v -8388608\nROUTE 5 1\ntask u local\nregion 1,2 3x4 step=5x6 class=c\n"
      "route 2,3 4x5 step=6x7 color=8 west->east east->west+ramp ring\n"
      "port q in 3,2 north color=4 wavelets=5\nsymbol s f32 1,2 3x4 address=4 count=5\n";
  static const char *const changes[][2] = {{"program p 4x4", "program r 4x4"},
                                           {"program p 4x4", "program p 5x4"},
                                           {"program p 4x4", "program p 4x5"},
                                           {"class c data", "class d data"},
                                           {"data=64", "data=65"},
                                           {"address=0+1x+1y", "address=1+1x+1y"},
                                           {"address=0+1x+1y", "address=0+1y"},
                                           {"address=0+1x+1y", "address=0+1x"},
                                           {"length=8+1x", "length=9+1x"},
                                           {"stride=8", "stride=9"},
                                           {"wrap=2+1x+1y", "wrap=3+1x+1y"},
                                           {"wrap=2+1x+1y", "wrap=2+2x+1y"},
                                           {"outer=64", "outer=63"},
                                           {"r1=4", "r0=4"},
                                           {"r1=4", "r1=5"},
                                           {"r2=8", "r3=8"},
                                           {"longer=r5", "longer=r4"},
                                           {" longer=r5", ""},
                                           {"longer=r6", "longer=r7"},
                                           {" longer=r6", ""},
                                           {"CONST v -8388608", "CONST v -8388607"},
                                           {"CONST v -8388608", "FILL v -8388608"},
                                           {" r1=4", ""},
                                           {"f16 in color=3", "bf16 in color=3"},
                                           {"in color=3 queue", "out color=3 queue"},
                                           {"in color=3", "in color=2"},
                                           {"color=4 queue=1", "color=4 queue=0"},
                                           {"data color=3", "control color=3"},
                                           {"active blocked", "blocked"},
                                           {"active blocked", "active"},
                                           {"data color=3 queue=2", "data color=3 queue=3"},
                                           {"MOV v i", "MOV v v"},
                                           {"MOV v i", "MOV o i"},
                                           {"thread=1", "thread=2"},
                                           {"activate=u", "unblock=u"},
                                           {"activate=u", "activate=t"},
                                           {"AXPY v i o", "AXPY v i v"},
                                           {"AXPY v i o", "FMA v i o"},
                                           {"SET r2 5", "SET r1 5"},
                                           {"SET r2 5", "STEP r2 5"},
                                           {"5+1x+1y", "5+1x+2y"},
                                           {"SKIP_LESS r3 7 2", "SKIP_LESS r3 7 1"},
                                           {"SKIP_LESS r3 7 2", "SKIP_LESS r3 6 2"},
                                           {"SKIP 3", "SKIP 2"},
                                           {"ROUTE 5 1", "ROUTE 4 1"},
                                           {"ROUTE 5 1\ntask u local", "task u local\nROUTE 5 1"},
                                           {"task u", "task w"},
                                           {"region 1,2 3x4", "region 0,2 3x4"},
                                           {"region 1,2 3x4", "region 1,2 3x5"},
                                           {"step=5x6", "step=5x5"},
                                           {"route 2,3", "route 2,2"},
                                           {"color=8", "color=7"},
                                           {"west->east east", "west->north east"},
                                           {"east->west+ramp", "east->west"},
                                           {" ring", ""},
                                           {" ring", " none->none ring"},
                                           {"port q in", "port q out"},
                                           {"in 3,2 north", "in 3,3 north"},
                                           {"3,2 north", "3,2 west"},
                                           {"wavelets=5", "wavelets=6"},
                                           {"symbol s f32", "symbol s f16"},
                                           {"symbol s f32", "symbol t f32"},
                                           {"address=4", "address=8"},
                                           {"count=5", "count=4"}};
  arena *a = arena_create("hash");
  u64 seen[COUNT_OF(changes) + 1];
  const dataflow first = sim_dataflow(words, a);
  round_trip(&first);
  seen[0] = dataflow_hash(&first);
  for (u32 i = 0; i < COUNT_OF(changes); i++) {
    const char *at = strstr(words, changes[i][0]);
    if (!at) fail_msg("\"%s\" is not there", changes[i][0]);
    char *changed = arena_format(a, "%.*s%s%s", (int)(at - words), words, changes[i][1], at + strlen(changes[i][0]));
    // one name in two places
    if (strstr(changes[i][1], "class d"))
      changed = arena_format(a, "%.*sclass=d%s", (int)(strstr(changed, "class=c") - changed), changed,
                             strstr(changed, "class=c") + 7);
    if (strstr(changes[i][1], "task w"))
      changed = arena_format(a, "%.*sactivate=w%s", (int)(strstr(changed, "activate=u") - changed), changed,
                             strstr(changed, "activate=u") + 10);
    const dataflow d = sim_dataflow(changed, a);
    seen[i + 1] = dataflow_hash(&d);
    for (u32 k = 0; k <= i; k++)
      if (seen[k] == seen[i + 1]) fail_msg("\"%s\" for \"%s\" hashes as another", changes[i][1], changes[i][0]);
  }
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_example_is_a_program),    cmocka_unit_test(the_manual_names_every_instruction),
      cmocka_unit_test(the_manual_page_is_current),  cmocka_unit_test(built_programs_are_laid_out),
      cmocka_unit_test(random_programs_round_trip),  cmocka_unit_test(mistakes_name_their_line),
      cmocka_unit_test(odd_bytes_are_refused),       cmocka_unit_test(the_text_is_read_freely),
      cmocka_unit_test(every_word_changes_the_hash),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
