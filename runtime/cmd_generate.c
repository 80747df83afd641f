// weft generate: text from a checkpoint, which carries its configuration and its vocabulary.
#include "base/file.h"
#include "model/compute/generate.h"
#include "runtime/commands.h"
#include "runtime/output.h"
#include "runtime/run_note.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct model_in_use {
  run_spec spec;
  run_vocab vocab;
  train_options options;
  graph graph;
  trainer *trainer;
} model_in_use;

static bool open_model(const char *folder, model_in_use *m, u32 threads, arena *a, status *st) {
  if (!run_note_read(folder, a, &m->spec, &m->vocab, st)) return false;
  if (m->spec.model.attention == ATTENTION_BIDIRECTIONAL)
    return status_fail(st, CODE_CONFIG, "%s: a bidirectional model fills in hidden tokens; it has no next token to generate",
                       folder);
  m->spec.threads = threads;
  m->options = m->spec.train;
  m->options.batch = 1; // one window at a time needs the memory of one
  const base_hyper base = {m->options.lr, m->options.weight_decay, m->options.eps};
  if (!graph_build(&m->spec.model, base, m->options.seq, a, &m->graph, st)) return false;
  const trainer_setup setup = {.graph = &m->graph,
                               .options = &m->options,
                               .kernels = trainer_kernels(&m->options),
                               .seed = m->spec.top.seed,
                               .threads = run_threads(&m->spec)};
  m->trainer = trainer_create(&setup, a, st);
  return m->trainer && trainer_load(m->trainer, folder, st);
}

// ---- words to tokens

typedef struct token_list {
  u32 *ids;
  u32 count;
} token_list;

static bool read_text(const model_in_use *m, const char *prompt, token_list *list, status *st) {
  for (const char *p = prompt; *p; p++) {
    const u32 id = m->vocab.id_of[(u8)*p];
    if (id == UINT32_MAX) {
      return status_fail(st, CODE_DATA,
                         "--prompt: byte %d, 0x%02x%s%.1s%s, never occurs in the text that the model was "
                         "trained on",
                         (int)(p - prompt), (u8)*p, (u8)*p > 32 && (u8)*p < 127 ? " '" : "",
                         (u8)*p > 32 && (u8)*p < 127 ? p : "", (u8)*p > 32 && (u8)*p < 127 ? "'" : "");
    }
    list->ids[list->count++] = id;
  }
  return true;
}

static bool read_ids(const model_in_use *m, const char *prompt, token_list *list, status *st) {
  for (const char *p = prompt + strspn(prompt, " ,"); *p; p += strspn(p, " ,")) {
    char *end;
    const unsigned long long id = strtoull(p, &end, 10);
    if (*p < '0' || *p > '9' || id >= m->spec.model.vocab) {
      return status_fail(st, CODE_DATA,
                         "--prompt: the model was trained on token numbers below %u, and \"%.40s\" is none",
                         m->spec.model.vocab, p);
    }
    list->ids[list->count++] = (u32)id;
    p = end;
  }
  return true;
}

static bool read_prompt(const model_in_use *m, const char *prompt, token_list *list, arena *a, status *st) {
  *list = (token_list){arena_array(a, u32, strlen(prompt) + 1), 0};
  const bool ok = m->vocab.is_text ? read_text(m, prompt, list, st) : read_ids(m, prompt, list, st);
  if (!ok || list->count) return ok;
  const u32 newline = m->vocab.id_of['\n']; // what text begins after
  list->ids[list->count++] = newline == UINT32_MAX ? 0 : newline;
  return true;
}

// ---- tokens to words

typedef struct speaker {
  const run_vocab *vocab;
  bool live, careful; // print as it comes; a terminal must not be told to do things
  text words;
  json_t *ids;
} speaker;

static bool speak(u32 token, void *user) {
  speaker *s = user;
  text one = {0};
  if (!s->vocab->is_text) {
    text_format(&one, "%s%u", s->words.size ? " " : "", token);
  } else if (token >= s->vocab->count) {
    text_add(&one, "\xef\xbf\xbd");
  } else {
    const u8 byte = s->vocab->byte_of[token];
    const bool control = (byte < 32 && byte != '\n' && byte != '\t') || byte == 127;
    text_add_bytes(&one, s->careful && control ? "?" : (const char *)&byte, 1);
  }
  text_add_bytes(&s->words, text_get(&one), one.size);
  json_array_append_new(s->ids, json_integer(token));
  if (s->live) {
    output_bytes(text_get(&one), one.size);
    output_flush();
  }
  text_free(&one);
  return true;
}

static void tell(const command_call *c, const char *prompt, speaker *s) {
  if (!command_flag(c, "json")) {
    output_text("\n");
    return;
  }
  json_t *document = output_document("generate");
  json_object_set_new(document, "prompt", output_words(prompt, strlen(prompt)));
  json_object_set_new(document, "text", output_words(text_get(&s->words), s->words.size));
  json_object_set_new(document, "tokens", json_integer((json_int_t)json_array_size(s->ids)));
  json_object_set(document, "ids", s->ids);
  output_json(document);
}

// ---- command

static bool read_options(const command_call *c, generate_options *o, status *st) {
  double tokens = 200, top_k = 0, seed = 1;
  o->temperature = 0.8;
  const command_range whole = {0, 1e9, true};
  if (!command_number(c, "tokens", whole, &tokens, st) || !command_number(c, "top-k", whole, &top_k, st) ||
      !command_number(c, "temperature", (command_range){0, 100, false}, &o->temperature, st) ||
      !command_number(c, "seed", (command_range){0, 9007199254740992.0, true}, &seed, st))
    return false;
  o->tokens = (u32)tokens;
  o->top_k = (u32)top_k;
  o->seed = (u64)seed;
  return true;
}

static bool run(const command_call *c, status *st) {
  const char *folder = command_value(c, "from"), *prompt = command_value(c, "prompt");
  if (!folder) return status_fail(st, CODE_USAGE, "weft generate --from FOLDER: which checkpoint?");
  if (!prompt) prompt = "";
  model_in_use *m = arena_array(c->memory, model_in_use, 1);
  generate_options o;
  u32 threads;
  token_list list;
  if (!command_threads(c, &threads, st) || !read_options(c, &o, st) || !open_model(folder, m, threads, c->memory, st) ||
      !read_prompt(m, prompt, &list, c->memory, st))
    return false;
  const bool as_json = command_flag(c, "json");
  speaker s = {.vocab = &m->vocab, .live = !as_json, .careful = !as_json && output_terminal(), .ids = json_array()};
  if (!as_json) output_text(prompt);
  if (!as_json && !m->vocab.is_text && prompt[0]) output_text(" ");
  generate_run(m->trainer, list.ids, list.count, &o, speak, &s);
  tell(c, prompt, &s);
  text_free(&s.words);
  json_decref(s.ids);
  return true;
}

static const command_option options[] = {
    {"from", "FOLDER", "the checkpoint", NULL},
    {"prompt", "TEXT", "what it goes on from (token numbers for a model trained on those)", NULL},
    {"tokens", "N", "how many to produce (default: 200)", NULL},
    {"temperature", "X", "0 takes the most likely token (default: 0.8)", NULL},
    {"top-k", "N", "draw from the N most likely only (default: all)", NULL},
    {"seed", "N", "of the draws (default: 1)", NULL},
};

const command cmd_generate = {
    .name = "generate",
    .arguments = "",
    .sentence = "text from a checkpoint",
    .examples = {{"weft generate --from weft-runs/1/checkpoint --prompt \"The \" --tokens 300", "300 more characters"},
                 {"weft generate --from weft-runs/1/checkpoint --temperature 0", "the most likely text"}},
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_THREADS | COMMAND_JSON,
    .arguments_max = 0,
    .run = run,
};
