// A field is written once: one row gives type, name, key, unit, default, bounds and sentence; reading,
// `--set`, bounds, "did you mean", printing, hashing, the schema and the docs page all follow from it.
//
// How a spec is declared (see model/graph/model_spec.h):
//   #define MODEL_FIELDS(F)   (one row a line, each line but the last ending in a backslash)
//     F(U32, layers, "layers", UNIT_NONE, "4", 1, 100000, NULL, "number of transformer blocks") ...
//   typedef struct model_spec { MODEL_FIELDS(FIELD_MEMBER) } model_spec;
// and in the .c file
//   #define ROW(...) FIELD_ROW(model_spec, __VA_ARGS__)
//   static const field rows[] = {MODEL_FIELDS(ROW)};
//   const field_table model_table = {"model", "What is trained.", rows, COUNT_OF(rows), sizeof(model_spec)};
#pragma once

#include "base/arena.h"
#include "base/text.h"

typedef enum field_type { FIELD_U32, FIELD_U64, FIELD_F64, FIELD_BOOL, FIELD_ENUM, FIELD_TEXT } field_type;

// Units decide which suffixes a value may carry and how it is printed.
typedef enum field_unit {
  UNIT_NONE,      // plain number; 10k, 3M, 2G (powers of 1000), 1e-3 and 2^-7 are understood
  UNIT_BYTES,     // 48KiB, 2MB, 40GB
  UNIT_HZ,        // 1.1GHz
  UNIT_SECONDS,   // 10ms, 2us
  UNIT_CYCLES,    // plain
  UNIT_PER_CYCLE, // elements per cycle
  UNIT_BITS_PER_S, // 1.2Tb/s
  UNIT_WATTS,     // 23kW
  UNIT_JOULES,    // 0.15pJ
  UNIT_PER_S      // 10G/s
} field_unit;

enum { FIELD_TEXT_MAX = 512 };

#define FIELD_CTYPE_U32 u32
#define FIELD_CTYPE_U64 u64
#define FIELD_CTYPE_F64 double
#define FIELD_CTYPE_BOOL bool
#define FIELD_CTYPE_ENUM u32
#define FIELD_SUFFIX_U32
#define FIELD_SUFFIX_U64
#define FIELD_SUFFIX_F64
#define FIELD_SUFFIX_BOOL
#define FIELD_SUFFIX_ENUM
#define FIELD_CTYPE_TEXT char
#define FIELD_SUFFIX_TEXT [FIELD_TEXT_MAX]
#define FIELD_MEMBER(type, member, ...) FIELD_CTYPE_##type member FIELD_SUFFIX_##type;
#define FIELD_ROW(spec, type, member, key, unit, def, lo, hi, choices, sentence)                    \
  {key, FIELD_##type, unit, offsetof(spec, member), def, lo, hi, choices, sentence},

typedef struct field {
  const char *key; // within its table; dots allowed: "pe.sram_bytes"
  field_type type;
  field_unit unit;
  size_t offset;
  const char *default_text; // parsed by the same parser as a user's value
  double min, max;          // inclusive, numbers only
  const char *choices;      // FIELD_ENUM: "a|b|c", value = position
  const char *sentence;     // what it is, for the docs page and the schema
} field;

typedef struct field_table {
  const char *name;     // section: "model"; "" for keys at the top level
  const char *sentence; // what the section states
  const field *fields;
  u32 count;
  size_t spec_size;
} field_table;

// Who stated a value; a later, stronger one wins whatever the order of application.
typedef enum field_level { LEVEL_DEFAULT, LEVEL_PRESET, LEVEL_FILE, LEVEL_SET, LEVEL_FLAG } field_level;

// Beside each value: where it was stated and, for machine numbers, the source it came from.
typedef struct field_note {
  field_level level;
  const char *origin; // "default", "presets/machines/cs3.yaml:12:3", "--set", "--seed"
  const char *source; // NULL where none was given
} field_note;

// Fills a spec with its defaults (a default that does not parse is a bug).
void field_defaults(const field_table *t, void *spec);
const field *field_find(const field_table *t, const char *key);
// Parses `value` into the spec. `where` starts the sentence on failure ("run.yaml:14:9").
bool field_parse(const field_table *t, const field *f, void *spec, const char *value,
                 const char *where, status *st);
// The value as the parser would read it back, e.g. "48KiB" or "0.0078125"; doubles round-trip.
void field_format(const field *f, const void *spec, text *out);
// Name of an enum value: the `value`-th of the field's choices.
void field_choice(const field *f, u32 value, char *out, size_t room);
// `section:` and one `  key: value` line per field (nested keys nested), readable back as YAML.
void field_print(const field_table *t, const void *spec, text *out);
// Identity of the values: keys and parsed values, in table order.
u64 field_hash(u64 hash, const field_table *t, const void *spec);
// Rows "| key | type, unit | default | bounds | sentence |" for the docs page.
void field_markdown(const field_table *t, text *out);
const char *field_unit_name(field_unit unit); // "bytes", "" for UNIT_NONE
