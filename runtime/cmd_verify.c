// weft verify: replays recorded models and says how far the numbers are apart.
#include "model/compute/verify.h"
#include "runtime/commands.h"
#include "runtime/fabric_step.h"
#include "runtime/output.h"
#include "runtime/run_data.h"

#include <math.h>
#include <string.h>

static json_t *rows_json(const verify_result *v) {
  json_t *rows = json_array();
  for (u32 i = 0; i < v->row_count; i++) {
    const verify_row *row = &v->rows[i];
    json_array_append_new(rows, json_pack("{s:s,s:o,s:o,s:b}", "name", row->name, "max_abs", output_real(row->max_abs),
                                          "max_rel", output_real(row->max_rel), "pass", row->pass));
  }
  return rows;
}

static json_t *file_json(const char *path, const verify_result *v, bool verbose) {
  json_t *file = json_object();
  json_object_set_new(file, "file", output_words(path, strlen(path)));
  json_object_set_new(file, "loss_max_abs", output_real(v->loss_max_abs));
  json_object_set_new(file, "grad_max_rel", output_real(v->grad_max_rel));
  json_object_set_new(file, "weight_max_abs", output_real(v->weight_max_abs));
  json_object_set_new(file, "act_max_rel", output_real(v->act_max_rel));
  json_object_set_new(file, "worst", v->worst ? json_string(v->worst) : json_null());
  json_object_set_new(file, "pass", json_boolean(v->pass));
  if (verbose) json_object_set_new(file, "tensors", rows_json(v));
  return file;
}

static void print_file(const char *path, const verify_result *v, bool verbose) {
  if (verbose) {
    output_format("%-36s %12s %12s\n", "tensor", "max abs", "max rel");
    for (u32 i = 0; i < v->row_count; i++) {
      const verify_row *row = &v->rows[i];
      output_format("%-36s %12.3e %12.3e%s\n", row->name, row->max_abs, row->max_rel, row->pass ? "" : "  FAIL");
    }
  }
  output_format("%s  %s: loss %.2e, gradients %.2e of the largest, weights %.2e; worst %s\n", v->pass ? "pass" : "FAIL",
                path, v->loss_max_abs, v->grad_max_rel, v->weight_max_abs, v->worst ? v->worst : "none");
}

// fmax forgets a NaN, and a NaN is the worst there is.
static double worse(double a, double b) {
  return isnan(a) || isnan(b) ? NAN : fmax(a, b);
}

// The fabric that replays a recording.
typedef struct replay {
  const run_spec *spec;
  machine machine;
  fabric_step *fabric;
} replay;

static const trainer_source *open_fabric(void *user, const graph *g, u32 batch, arena *a, status *st) {
  replay *p = user;
  fabric_step_setup s = *fabric_step_wanted(p->spec, g, &p->machine, a);
  s.batch = batch;
  s.keep = true;
  p->fabric = fabric_step_open(&s, a, st);
  return p->fabric ? fabric_step_source(p->fabric) : NULL;
}

static bool replay_file(const char *path, const verify_options *o, replay *p, arena *a, verify_result *v, status *st) {
  p->fabric = NULL;
  if (!verify_run(path, o, a, v, st)) return false;
  if (!p->fabric || status_ok(fabric_step_status(p->fabric))) return true;
  *st = *fabric_step_status(p->fabric); // a stall: the numbers behind it are none
  return false;
}

// The recording states the model and its training; what runs it may be chosen.
static bool read_spec(const command_call *c, run_spec *r, status *st) {
  static const char *const may[] = {"machine", "plan.", "engine."};
  const run_assignment *sets;
  u32 count;
  if (!command_run_spec(c, NULL, r, st) || !command_sets(c, &sets, &count, st)) return false;
  for (u32 i = 0; i < count; i++) {
    bool known = false;
    for (u32 k = 0; k < COUNT_OF(may); k++) known = known || text_starts(sets[i].key, may[k]);
    if (!known)
      return status_fail(st, CODE_USAGE,
                         "%s: the recording states everything but machine, plan and engine, so %s changes nothing",
                         sets[i].where, sets[i].key);
  }
  return command_threads(c, &r->threads, st);
}

static bool run(const command_call *c, status *st) {
  if (c->argument_count == 0) {
    return status_fail(st, CODE_USAGE, "weft verify FILE.safetensors...: which recorded model?");
  }
  run_spec *spec = arena_array(c->memory, run_spec, 1);
  replay p = {.spec = spec};
  if (!read_spec(c, spec, st) || !machine_build(&spec->machine, &p.machine, st)) return false;
  const verify_options options = {.kernels = kernels_fast(),
                                  .limits = VERIFY_LIMITS_FP32,
                                  .threads = run_threads(spec),
                                  .user = &p,
                                  .open_source = spec->engine.name == ENGINE_FABRIC ? open_fabric : NULL};
  const bool as_json = command_flag(c, "json"), verbose = command_flag(c, "verbose");
  json_t *files = json_array();
  verify_result all = {.pass = true};
  const char *failed = NULL;
  for (u32 i = 0; i < c->argument_count; i++) {
    arena *a = arena_create("verify");
    verify_result v;
    const bool ok = replay_file(c->arguments[i], &options, &p, a, &v, st);
    if (ok) {
      if (as_json)
        json_array_append_new(files, file_json(c->arguments[i], &v, verbose));
      else
        print_file(c->arguments[i], &v, verbose);
      all.loss_max_abs = worse(all.loss_max_abs, v.loss_max_abs);
      all.grad_max_rel = worse(all.grad_max_rel, v.grad_max_rel);
      all.weight_max_abs = worse(all.weight_max_abs, v.weight_max_abs);
      all.pass = all.pass && v.pass;
      if (!v.pass && !failed) failed = arena_format(c->memory, "%s: %s", c->arguments[i], v.worst ? v.worst : "it");
    }
    arena_destroy(a);
    if (!ok) {
      json_decref(files);
      return false;
    }
  }
  if (as_json) {
    json_t *document = output_document("verify");
    json_object_set_new(document, "loss_max_abs", output_real(all.loss_max_abs));
    json_object_set_new(document, "grad_max_rel", output_real(all.grad_max_rel));
    json_object_set_new(document, "weight_max_abs", output_real(all.weight_max_abs));
    json_object_set_new(document, "pass", json_boolean(all.pass));
    json_object_set(document, "files", files);
    output_json(document);
  }
  json_decref(files);
  return all.pass || status_fail(st, CODE_CHECK, "%s is beyond its limit", failed);
}

static const command_option options[] = {
    {"verbose", NULL, "every tensor, not only the summary", NULL},
};

const command cmd_verify = {
    .name = "verify",
    .arguments = "FILE.safetensors...",
    .sentence = "replays recorded models and compares every number",
    .examples = {{"weft verify golden/completep_L8_N32.safetensors",
                  "losses, gradients and weights after 1 and 3 steps"},
                 {"weft verify --set engine.name=fabric --machine mesh16 model.safetensors",
                  "the same numbers from wavelets on a grid of 16 x 16 PEs"}},
    .details =
        "The configuration lies in the file's metadata or in FILE.json beside it. Limits: losses 5e-6, gradients\n"
        "1e-5 of the tensor's largest, weights 1e-5. Exit code 1 when a tensor is beyond its limit.",
    .options = options,
    .option_count = COUNT_OF(options),
    .groups = COMMAND_RUN | COMMAND_JSON,
    .arguments_max = UINT32_MAX,
    .run = run,
};
