// Token streams: text as bytes or characters, nanoGPT and llm.c .bin files, all checked before use.
#include "model/compute/tokens.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"

#include <string.h>

enum { LLMC_MAGIC = 20240520, LLMC3_MAGIC = 20240801, LLMC_HEADER_BYTES = 1024 };

// One opened file (or the built-in text): its bytes, and its tokens once known.
typedef struct source {
  const char *name;
  const u8 *bytes;
  size_t size;
  const u16 *tokens;
  u64 count;
} source;

static i32 header_word(const source *s, u32 word) {
  i32 value;
  memcpy(&value, s->bytes + word * sizeof value, sizeof value);
  return value;
}

static bool has_magic(const source *s, i32 magic) {
  return s->size >= sizeof(i32) && header_word(s, 0) == magic; // also where the file ends inside its header
}

static data_format_kind detect(const source *s) {
  if (!text_ends(s->name, ".bin")) return FORMAT_TEXT;
  return has_magic(s, LLMC_MAGIC) || has_magic(s, LLMC3_MAGIC) ? FORMAT_LLMC : FORMAT_NANOGPT;
}

static bool open_nanogpt(source *s, status *st) {
  if (s->size % 2)
    return status_fail(st, CODE_DATA,
                       "%s: %zu bytes is an odd size, so the last 16-bit token is cut off; copy the file again",
                       s->name, s->size);
  s->tokens = (const u16 *)(const void *)s->bytes;
  s->count = s->size / 2;
  return true;
}

static bool open_llmc(source *s, status *st) {
  if (s->size < LLMC_HEADER_BYTES)
    return status_fail(st, CODE_DATA, "%s: %zu bytes is too short for llm.c's header of 1024 bytes", s->name,
                       s->size);
  if (has_magic(s, LLMC3_MAGIC))
    return status_fail(st, CODE_DATA,
                       "%s: this llm.c file has 32-bit tokens (magic 20240801); only 16-bit tokens are read",
                       s->name);
  if (!has_magic(s, LLMC_MAGIC))
    return status_fail(st, CODE_DATA, "%s: magic number %d at offset 0 where llm.c writes 20240520; check data.format",
                       s->name, header_word(s, 0));
  if (header_word(s, 1) != 1)
    return status_fail(st, CODE_DATA, "%s: version %d at offset 4, only version 1 of llm.c's format is read",
                       s->name, header_word(s, 1));
  i32 count = header_word(s, 2);
  u64 wanted = LLMC_HEADER_BYTES + 2 * (u64)(u32)count;
  if (count < 0 || s->size != wanted)
    return status_fail(st, CODE_DATA,
                       "%s: the header at offset 8 states %d tokens, which make %llu bytes, but the file has %zu; "
                       "it is truncated or damaged, copy it again",
                       s->name, count, (unsigned long long)wanted, s->size);
  s->tokens = (const u16 *)(const void *)(s->bytes + LLMC_HEADER_BYTES);
  s->count = (u64)count;
  return true;
}

static bool check_tokens(const source *s, u32 vocab, bool masks, status *st) {
  for (u64 i = 0; i < s->count; i++)
    if (s->tokens[i] >= vocab - masks)
      return status_fail(st, CODE_DATA,
                         "%s: token %u at position %llu is beyond the vocabulary of %u%s; raise model.vocab or use "
                         "the data it was made for",
                         s->name, s->tokens[i], (unsigned long long)i, vocab,
                         masks ? ", whose last id stands for hidden tokens" : "");
  return true;
}

// Ids of the bytes: themselves, or their rank among those that occur in any of the files.
static u32 number_bytes(const source *files, u32 count, data_vocab_kind kind, token_data *d) {
  bool seen[256] = {false};
  for (u32 f = 0; f < count; f++)
    for (size_t i = 0; i < files[f].size; i++) seen[files[f].bytes[i]] = true;
  u32 next = 0;
  for (u32 c = 0; c < 256; c++) {
    d->id_of[c] = UINT32_MAX;
    u32 id = kind == VOCAB_BYTES ? c : next;
    if (seen[c]) d->id_of[c] = id;
    if (seen[c] || kind == VOCAB_BYTES) d->char_of[id] = (u8)c;
    next += seen[c];
  }
  return kind == VOCAB_BYTES ? 256 : next;
}

static bool tokenize(source *s, const token_data *d, arena *a, status *st) {
  u16 *tokens = arena_take_big(a, s->size * sizeof(u16) + 1, "the tokens of the text", st);
  if (!tokens) return false;
  for (size_t i = 0; i < s->size; i++) tokens[i] = (u16)d->id_of[s->bytes[i]];
  s->tokens = tokens;
  s->count = s->size;
  return true;
}

static bool open_text(const tokens_request *r, source *files, u32 count, arena *a, token_data *d, status *st) {
  u32 found = number_bytes(files, count, r->options->vocab, d);
  d->is_text = true;
  d->vocab = r->vocab ? r->vocab : found + r->masks;
  for (u32 f = 0; f < count; f++)
    if (!tokenize(&files[f], d, a, st)) return false;
  return true;
}

static bool open_bin(const tokens_request *r, source *files, u32 count, data_format_kind format, token_data *d,
                     status *st) {
  if (!r->vocab)
    return status_fail(st, CODE_CONFIG,
                       "%s: a .bin file does not say its vocabulary; state model.vocab (50257 for GPT-2 tokens)",
                       files[0].name);
  d->vocab = r->vocab;
  for (u32 f = 0; f < count; f++)
    if (!(format == FORMAT_LLMC ? open_llmc(&files[f], st) : open_nanogpt(&files[f], st))) return false;
  return true;
}

static bool map_files(const tokens_request *r, source *files, u32 *ret_count, token_data *d, status *st) {
  const data_options *o = r->options;
  *ret_count = o->val_path[0] ? 2 : 1;
  if (!o->path[0]) {
    if (!r->builtin || o->val_path[0] || (o->format != FORMAT_AUTO && o->format != FORMAT_TEXT))
      return status_fail(st, CODE_CONFIG, "data.path is empty; state the training data (--data FILE)");
    files[0] = (source){.name = "the built-in text", .bytes = r->builtin, .size = r->builtin_size};
    return true;
  }
  const char *paths[2] = {o->path, o->val_path};
  for (u32 f = 0; f < *ret_count; f++) {
    if (!file_map(paths[f], &d->maps[f], &d->map_sizes[f], st)) return false;
    files[f] = (source){.name = paths[f], .bytes = d->maps[f], .size = d->map_sizes[f]};
  }
  return true;
}

static bool check_length(const char *name, const char *part, u64 count, u32 seq, status *st) {
  if (count > seq) return true;
  return status_fail(st, CODE_DATA,
                     "%s: the %s part has %llu tokens, one sequence needs %u; use more data, a smaller train.seq or "
                     "another data.held_out",
                     name, part, (unsigned long long)count, seq + 1);
}

static bool split(const tokens_request *r, const source *files, u32 count, token_data *d, status *st) {
  d->train = files[0].tokens;
  d->train_count = files[0].count;
  if (count == 2) {
    d->held = files[1].tokens;
    d->held_count = files[1].count;
  } else {
    d->train_count = (u64)((1 - r->options->held_out) * (double)files[0].count);
    d->held = files[0].tokens + d->train_count;
    d->held_count = files[0].count - d->train_count;
  }
  return check_length(files[0].name, "training", d->train_count, r->seq, st) &&
         check_length(files[count - 1].name, "held-out", d->held_count, r->seq, st);
}

static u64 identity(const source *files, u32 count, const token_data *d, data_vocab_kind kind) {
  u64 hash = HASH_START;
  for (u32 f = 0; f < count; f++) hash = hash_bytes(hash_u64(hash, files[f].size), files[f].bytes, files[f].size);
  hash = hash_u64(hash, d->train_count);
  hash = hash_u64(hash, d->is_text ? 1 + (u64)kind : 0);
  return hash_u64(hash, d->vocab);
}

static bool open_files(const tokens_request *r, arena *a, token_data *d, status *st) {
  source files[2] = {0};
  u32 count = 0;
  if (!map_files(r, files, &count, d, st)) return false;
  data_format_kind format = r->options->format;
  if (format == FORMAT_AUTO) {
    format = detect(&files[0]);
    if (count == 2 && detect(&files[1]) != format)
      return status_fail(st, CODE_DATA, "%s and %s are not of one format; state data.format or convert one of them",
                         files[0].name, files[1].name);
  }
  bool ok = format == FORMAT_TEXT ? open_text(r, files, count, a, d, st)
                                  : open_bin(r, files, count, format, d, st);
  if (!ok) return false;
  for (u32 f = 0; f < count; f++)
    if (!check_tokens(&files[f], d->vocab, r->masks, st)) return false;
  if (!split(r, files, count, d, st)) return false;
  d->hash = identity(files, count, d, r->options->vocab);
  return true;
}

bool tokens_open(const tokens_request *r, arena *a, token_data *ret_data, status *st) {
  token_data d = {0};
  if (!open_files(r, a, &d, st)) {
    tokens_close(&d);
    return false;
  }
  *ret_data = d;
  return true;
}

void tokens_close(token_data *d) {
  for (u32 f = 0; f < COUNT_OF(d->maps); f++)
    if (d->maps[f]) file_unmap(d->maps[f], d->map_sizes[f]);
  *d = (token_data){0};
}

static void fill(const u16 *tokens, token_window w) {
  for (u32 t = 0; t < w.seq; t++) {
    w.inputs[t] = tokens[t];
    w.targets[t] = tokens[t + 1];
  }
}

void tokens_batch(const token_data *d, u64 seed, u64 step, u32 index, token_window w) {
  require(d->train_count > w.seq);
  fill(d->train + random_below(seed, RANDOM_BATCH, (u32)step, index, d->train_count - w.seq), w);
}

void tokens_held(const token_data *d, u32 index, u32 count, token_window w) {
  require(index < count && d->held_count > w.seq);
  u64 last = d->held_count - w.seq - 1;
  fill(d->held + (count > 1 ? last * index / (count - 1) : 0), w);
}
