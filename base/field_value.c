// One field's value between text and memory: units, bounds, choices, and the way back. Decimal
// suffixes become part of the number's exponent, so "1.1GHz" is the double nearest to 1.1e9 and
// whatever is printed reads back to the same bits.
#include "base/field.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct unit_row {
  const char *name;   // for docs
  const char *symbol; // ends every suffix
  const char *wanted; // completes "is not ..."
  bool small, large;  // which prefixes are understood: m u n p f, and k M G T P E
} unit_row;

static const unit_row units[] = {
    [UNIT_NONE] = {"", "", "a number such as 0.5, 10k or 2^-7", false, true},
    [UNIT_BYTES] = {"bytes", "B", "a size such as 48KiB, 2MB or 512", false, true},
    [UNIT_HZ] = {"Hz", "Hz", "a frequency such as 1.1GHz", false, true},
    [UNIT_SECONDS] = {"seconds", "s", "a time such as 10ms, 2us or 90", true, false},
    [UNIT_CYCLES] = {"cycles", "", "a number of cycles such as 7 or 10k", false, true},
    [UNIT_PER_CYCLE] = {"per cycle", "", "a number per cycle such as 0.5 or 4", false, true},
    [UNIT_BITS_PER_S] = {"bits/s", "b/s", "a rate such as 1.2Tb/s or 150GB/s", false, true},
    [UNIT_WATTS] = {"watts", "W", "a power such as 23kW", true, true},
    [UNIT_JOULES] = {"joules", "J", "an energy such as 0.15pJ", true, true},
    [UNIT_PER_S] = {"per second", "/s", "a rate such as 10G/s", false, true},
};

typedef struct prefix_row {
  const char *text;
  int exponent;       // of ten, or of two where binary
  bool binary, spare; // spare: understood but never printed
} prefix_row;

static const prefix_row prefixes[] = {
    {"E", 18, false, false},  {"P", 15, false, false},       {"T", 12, false, false},
    {"G", 9, false, false},   {"M", 6, false, false},        {"k", 3, false, false},
    {"K", 3, false, true},    {"", 0, false, false},         {"m", -3, false, false},
    {"u", -6, false, false},  {"\xC2\xB5", -6, false, true}, {"n", -9, false, false},
    {"p", -12, false, false}, {"f", -15, false, false},      {"Ei", 60, true, false},
    {"Pi", 50, true, false},  {"Ti", 40, true, false},       {"Gi", 30, true, false},
    {"Mi", 20, true, false},  {"Ki", 10, true, false},
};

const char *field_unit_name(field_unit unit) {
  require((u32)unit < COUNT_OF(units));
  return units[unit].name;
}

// ---- text to number

enum { NUMBER_TEXT_MAX = 64 };

typedef struct number {
  double value;
  u64 whole; // exact, where is_whole
  bool is_whole;
} number;

typedef struct scale {
  int exponent10, exponent2;
  u32 factor;
} scale;

static bool prefix_read(const char *s, size_t n, const unit_row *unit, scale *ret) {
  for (u32 i = 0; i < COUNT_OF(prefixes); i++) {
    const prefix_row *p = &prefixes[i];
    if (strlen(p->text) != n || memcmp(p->text, s, n) != 0) continue;
    if (p->binary && strcmp(unit->symbol, "B") != 0) return false;
    if ((p->exponent < 0 && !unit->small) || (p->exponent > 0 && !unit->large)) return false;
    if (p->binary)
      ret->exponent2 += p->exponent;
    else
      ret->exponent10 += p->exponent;
    return true;
  }
  return false;
}

static bool suffix_read(const char *s, field_unit unit, scale *ret) {
  static const struct {
    field_unit unit;
    const char *symbol;
    u32 factor;
  } extras[] = {{UNIT_SECONDS, "min", 60}, {UNIT_SECONDS, "h", 3600}, {UNIT_SECONDS, "d", 86400}};
  const unit_row *row = &units[unit];
  *ret = (scale){.factor = 1};
  if (!s[0]) return true;
  for (u32 i = 0; i < COUNT_OF(extras); i++) {
    if (extras[i].unit != unit || strcmp(extras[i].symbol, s) != 0) continue;
    ret->factor = extras[i].factor;
    return true;
  }
  const char *symbol = row->symbol;
  if (unit == UNIT_BITS_PER_S && text_ends(s, "B/s")) {
    symbol = "B/s";
    ret->factor = 8;
  }
  return text_ends(s, symbol) && prefix_read(s, strlen(s) - strlen(symbol), row, ret);
}

// Exact where digits alone, times the scale, fit 64 bits.
static bool whole_read(const char *digits, scale by, u64 *ret) {
  u64 value = 0;
  for (const char *p = digits; *p; p++) {
    if (*p < '0' || *p > '9') return false;
    if (__builtin_mul_overflow(value, 10, &value)) return false;
    if (__builtin_add_overflow(value, (u64)(*p - '0'), &value)) return false;
  }
  if (by.exponent10 < 0) return value == 0 ? (*ret = 0, true) : false;
  for (int i = 0; i < by.exponent10 && value; i++) {
    if (__builtin_mul_overflow(value, 10, &value)) return false;
  }
  if (__builtin_mul_overflow(value, 1ull << by.exponent2, &value)) return false;
  if (__builtin_mul_overflow(value, by.factor, &value)) return false;
  *ret = value;
  return true;
}

static int exponent_read(const char *s, const char **ret_end) {
  char *end;
  long e = strtol(s, &end, 10);
  *ret_end = end;
  return (int)(e > 9999 ? 9999 : e < -9999 ? -9999 : e);
}

// Splits "1.5e3kW" into digits "1.5", an exponent of ten and the rest. False when it starts with no
// digit.
static bool number_split(const char *s, char digits[NUMBER_TEXT_MAX], int *ret_e,
                         const char **ret_rest) {
  size_t n = 0, count = 0;
  bool dot = false;
  if (*s == '+' || *s == '-') digits[n++] = *s++;
  for (; (*s >= '0' && *s <= '9') || (*s == '.' && !dot); s++) {
    if (n + 1 >= NUMBER_TEXT_MAX) return false;
    if (*s == '.')
      dot = true;
    else
      count++;
    digits[n++] = *s;
  }
  digits[n] = 0;
  *ret_e = 0;
  if (*s == 'e' || *s == 'E') {
    const char *p = s + 1 + (s[1] == '+' || s[1] == '-');
    if (*p >= '0' && *p <= '9') *ret_e = exponent_read(s + 1, &s);
  }
  *ret_rest = s;
  return count > 0;
}

static bool number_read(const char *value, field_unit unit, number *ret) {
  char digits[NUMBER_TEXT_MAX], all[NUMBER_TEXT_MAX + 16];
  const char *rest;
  int e;
  if (!number_split(value, digits, &e, &rest)) return false;
  int power = 0;
  char *bare = digits + (digits[0] == '+' || digits[0] == '-');
  if (strcmp(bare, "2") == 0 && rest[0] == '^') {
    const char *from = rest + 1, *p = from + (*from == '-');
    if (*p < '0' || *p > '9') return false;
    power = exponent_read(from, &rest);
    *bare = '1';
  }
  while (*rest == ' ') rest++;
  scale by;
  if (!suffix_read(rest, unit, &by)) return false;
  by.exponent10 += e;
  snprintf(all, sizeof all, "%se%d", digits, by.exponent10);
  ret->value = ldexp(strtod(all, NULL), power + by.exponent2) * by.factor;
  ret->is_whole = power == 0 && whole_read(digits, by, &ret->whole);
  if (!ret->is_whole && ret->value >= 0 && ret->value < 0x1p64 && floor(ret->value) == ret->value) {
    ret->is_whole = true;
    ret->whole = (u64)ret->value;
  }
  return true;
}

// ---- number to text

// The shortest decimal that reads back to v; whole numbers in full while that is readable.
static void shortest(double v, char *out, size_t room) {
  if (floor(v) == v && fabs(v) < 1e15) {
    snprintf(out, room, "%.0f", v == 0 ? 0.0 : v);
    return;
  }
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(out, room, "%.*g", digits, v);
    if (strtod(out, NULL) == v) return;
  }
}

// "1.1" for 1.1e9 and "GHz"; false when no decimal with that suffix reads back to v.
static bool scaled(double v, field_unit unit, const prefix_row *p, char *out, size_t room) {
  const double q = v / pow(10, p->exponent);
  for (int digits = 1; digits <= 17; digits++) {
    const bool in_full = floor(q) == q && fabs(q) < 1e15;
    if (in_full)
      snprintf(out, room, "%.0f", q);
    else
      snprintf(out, room, "%.*g", digits, q);
    if (strchr(out, 'e')) continue;
    const size_t n = strlen(out);
    snprintf(out + n, room - n, "%s%s", p->text, units[unit].symbol);
    number back;
    if (number_read(out, unit, &back) && back.value == v) return true;
  }
  return false;
}

// Bytes are printed as 48KiB or 40GB where that is exact, whichever is shorter.
static void bytes_text(u64 bytes, char *out, size_t room) {
  snprintf(out, room, "%llu%s", (unsigned long long)bytes, bytes ? "B" : "");
  for (u32 i = 0; i < COUNT_OF(prefixes); i++) {
    const prefix_row *p = &prefixes[i];
    if (p->exponent <= 0 || p->spare) continue;
    u64 unit = 1;
    for (int k = 0; k < p->exponent; k++) unit *= p->binary ? 2 : 10;
    if (!bytes || bytes % unit != 0) continue;
    char candidate[NUMBER_TEXT_MAX];
    snprintf(candidate, sizeof candidate, "%llu%sB", (unsigned long long)(bytes / unit), p->text);
    if (strlen(candidate) < strlen(out)) snprintf(out, room, "%s", candidate);
  }
}

static void double_text(double v, field_unit unit, char *out, size_t room) {
  const unit_row *row = &units[unit];
  if (unit == UNIT_BYTES && v >= 0 && v < 0x1p53 && floor(v) == v) {
    bytes_text((u64)v, out, room);
    return;
  }
  if (row->symbol[0] && unit != UNIT_BYTES && isfinite(v) && v != 0) {
    for (u32 i = 0; i < COUNT_OF(prefixes); i++) {
      const prefix_row *p = &prefixes[i];
      if (p->binary || p->spare || fabs(v) < 0.9999999 * pow(10, p->exponent)) continue;
      if ((p->exponent < 0 && !row->small) || (p->exponent > 0 && !row->large)) continue;
      if (scaled(v, unit, p, out, room)) return;
    }
  }
  shortest(v, out, room);
}

// A whole number that a double may not hold.
static void whole_text(u64 v, field_unit unit, char *out, size_t room) {
  if (unit == UNIT_BYTES)
    bytes_text(v, out, room);
  else if (v < 1ull << 53)
    double_text((double)v, unit, out, room);
  else
    snprintf(out, room, "%llu", (unsigned long long)v);
}

// ---- fields

static const char *address(const field *f, const void *spec) {
  return (const char *)spec + f->offset;
}

static void store(const field *f, void *spec, const void *value, size_t size) {
  memcpy((char *)spec + f->offset, value, size);
}

// "run.yaml:14:9: model.layers = "x" " followed by why.
static bool refuse(const field_table *t, const field *f, const char *value, const char *where,
                   const char *why, status *st) {
  const bool known = where && where[0];
  return status_fail(st, CODE_CONFIG, "%s%s%s%s%s = \"%.80s\" %s", known ? where : "",
                     known ? ": " : "", t->name, t->name[0] ? "." : "", f->key, value, why);
}

static bool parse_number(const field_table *t, const field *f, void *spec, const char *value,
                         const char *where, status *st) {
  number n;
  const bool whole = f->type != FIELD_F64;
  if (!number_read(value, f->unit, &n)) {
    char why[128];
    const bool plain = whole && f->unit == UNIT_NONE;
    const char *wanted = plain ? "a whole number such as 12 or 10k" : units[f->unit].wanted;
    snprintf(why, sizeof why, "is not %s", wanted);
    return refuse(t, f, value, where, why, st);
  }
  if (!(n.value >= f->min && n.value <= f->max) || !isfinite(n.value)) {
    char low[NUMBER_TEXT_MAX], high[NUMBER_TEXT_MAX], why[256];
    double_text(f->min, f->unit, low, sizeof low);
    double_text(f->max, f->unit, high, sizeof high);
    snprintf(why, sizeof why, "is out of bounds: it must lie between %s and %s", low, high);
    return refuse(t, f, value, where, why, st);
  }
  if (whole && !n.is_whole) return refuse(t, f, value, where, "is not a whole number", st);
  if (f->type == FIELD_U32) {
    if (n.whole > UINT32_MAX) return refuse(t, f, value, where, "does not fit 32 bits", st);
    store(f, spec, &(u32){(u32)n.whole}, sizeof(u32));
  } else if (f->type == FIELD_U64) {
    store(f, spec, &n.whole, sizeof n.whole);
  } else {
    store(f, spec, &n.value, sizeof n.value);
  }
  return true;
}

static bool parse_bool(const field_table *t, const field *f, void *spec, const char *value,
                       const char *where, status *st) {
  static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
  for (u32 i = 0; i < COUNT_OF(words); i++) {
    if (strcasecmp(value, words[i]) != 0) continue;
    store(f, spec, &(bool){i & 1}, sizeof(bool));
    return true;
  }
  return refuse(t, f, value, where, "is not true or false", st);
}

enum { CHOICES_MAX = 64, CHOICES_TEXT_MAX = 1024 };

// Cuts "a|b|c" into its words inside `room`.
static u32 split_choices(const char *choices, char room[CHOICES_TEXT_MAX],
                         const char *words[CHOICES_MAX]) {
  require(choices && strlen(choices) < CHOICES_TEXT_MAX);
  memcpy(room, choices, strlen(choices) + 1);
  u32 count = 0;
  for (char *p = room; p;) {
    require(count < CHOICES_MAX);
    words[count++] = p;
    p = strchr(p, '|');
    if (p) *p++ = 0;
  }
  return count;
}

static bool parse_enum(const field_table *t, const field *f, void *spec, const char *value,
                       const char *where, status *st) {
  char room[CHOICES_TEXT_MAX];
  const char *words[CHOICES_MAX];
  const u32 count = split_choices(f->choices, room, words);
  for (u32 i = 0; i < count; i++) {
    if (strcmp(value, words[i]) != 0) continue;
    store(f, spec, &i, sizeof i);
    return true;
  }
  text why = {0};
  text_add(&why, "is not one of ");
  for (u32 i = 0; i < count; i++) text_format(&why, "%s%s", i ? ", " : "", words[i]);
  const char *near = text_nearest(value, words, count);
  if (near) text_format(&why, ", did you mean \"%s\"?", near);
  refuse(t, f, value, where, text_get(&why), st);
  text_free(&why);
  return false;
}

// YAML is Unicode: other bytes could be stated by a flag but not be read back from a printed file.
static bool is_utf8(const char *s) {
  for (const u8 *p = (const u8 *)s; *p; p++) {
    const u32 more = *p < 0x80                 ? 0
                     : *p >= 0xC2 && *p < 0xE0 ? 1
                     : *p >= 0xE0 && *p < 0xF0 ? 2
                     : *p >= 0xF0 && *p < 0xF5 ? 3
                                               : 4;
    if (more == 4) return false;
    for (u32 i = 0; i < more; i++) {
      if ((*++p & 0xC0) != 0x80) return false;
    }
  }
  return true;
}

static bool parse_text(const field_table *t, const field *f, void *spec, const char *value,
                       const char *where, status *st) {
  const size_t size = strlen(value) + 1;
  if (size > FIELD_TEXT_MAX) return refuse(t, f, value, where, "is longer than 511 bytes", st);
  if (!is_utf8(value)) return refuse(t, f, value, where, "is not UTF-8 text", st);
  char padded[FIELD_TEXT_MAX] = {0}; // the tail too, so that equal specs are equal bytes
  memcpy(padded, value, size);
  store(f, spec, padded, sizeof padded);
  return true;
}

bool field_parse(const field_table *t, const field *f, void *spec, const char *value,
                 const char *where, status *st) {
  switch (f->type) {
  case FIELD_U32:
  case FIELD_U64:
  case FIELD_F64:
    return parse_number(t, f, spec, value, where, st);
  case FIELD_BOOL:
    return parse_bool(t, f, spec, value, where, st);
  case FIELD_ENUM:
    return parse_enum(t, f, spec, value, where, st);
  case FIELD_TEXT:
    return parse_text(t, f, spec, value, where, st);
  }
  bug_fail(__FILE__, __LINE__, "a field of no known type");
}

void field_choice(const field *f, u32 value, char *out, size_t room) {
  char all[CHOICES_TEXT_MAX];
  const char *words[CHOICES_MAX];
  const u32 count = split_choices(f->choices, all, words);
  require(value < count);
  snprintf(out, room, "%s", words[value]);
}

void field_format(const field *f, const void *spec, text *out) {
  const void *at = address(f, spec);
  char one[NUMBER_TEXT_MAX + 16];
  if (f->type == FIELD_U32) whole_text(*(const u32 *)at, f->unit, one, sizeof one);
  if (f->type == FIELD_U64) whole_text(*(const u64 *)at, f->unit, one, sizeof one);
  if (f->type == FIELD_F64) double_text(*(const double *)at, f->unit, one, sizeof one);
  if (f->type == FIELD_BOOL) snprintf(one, sizeof one, "%s", *(const bool *)at ? "true" : "false");
  if (f->type == FIELD_ENUM) field_choice(f, *(const u32 *)at, one, sizeof one);
  text_add(out, f->type == FIELD_TEXT ? (const char *)at : one);
}
