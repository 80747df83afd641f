// The table of commands, in the order in which help shows them.
#include "runtime/commands.h"

#include <string.h>

static const command *const all[] = {
    &cmd_train,  &cmd_generate, &cmd_simulate, &cmd_map,    &cmd_validate,
    &cmd_kernel, &cmd_verify, &cmd_sweep, &cmd_study, &cmd_runs, &cmd_db, &cmd_report, &cmd_ckpt, &cmd_trace,     &cmd_machine,  &cmd_config,
};

const command *commands_find(const char *name, status *st) {
  const char *names[COUNT_OF(all)];
  for (u32 i = 0; i < COUNT_OF(all); i++) {
    names[i] = all[i]->name;
    if (strcmp(names[i], name) == 0) return all[i];
  }
  const char *near = text_nearest(name, names, COUNT_OF(all));
  status_fail(st, CODE_USAGE, "unknown command \"%.60s\"%s%s%s; weft --help lists the commands", name,
              near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
  return NULL;
}

void commands_help(text *out) {
  text_add(out, "weft trains CompleteP transformers and tells how fast a Cerebras-style wafer would train them.\n\n"
                "  weft train                    a minute's run on built-in text: loss, speed, report\n"
                "  weft train --data my.txt      the same on your text\n\nCommands:\n");
  for (u32 i = 0; i < COUNT_OF(all); i++) {
    text_format(out, "  %-10s %s\n", all[i]->name, all[i]->sentence);
  }
  text_add(out,
           "\nweft COMMAND --help shows examples and options.\n"
           "Exit codes: 0 done, 1 a check failed or the loss diverged, 2 usage, 65 bad data, 66 input missing,\n"
           "70 a bug, 73 cannot create, 74 I/O, 75 stopped with a checkpoint, 78 configuration, 130 interrupted.\n");
}
