// Writing the job script.
#include "runtime/sweep_slurm.h"

#include "runtime/output.h"

#include <string.h>

// How long before the end of its time a task is told: enough for a step and a checkpoint.
enum { SLURM_NOTICE_S = 180 };

// A name that fits into one line of the script, whatever the sweep is called.
static const char *plain_name(const char *name, arena *a) {
  char *plain = arena_text(a, name);
  for (char *at = plain; *at; at++) {
    const bool good = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
    if (!good && *at != '_' && *at != '.') *at = '-';
  }
  return plain;
}

static void write_header(const slurm_job *j, const char *name, text *out) {
  text_add(out, "#!/bin/bash\n");
  text_format(out, "#SBATCH --job-name=weft-%s\n#SBATCH --array=0-%u\n", name, j->tasks - 1);
  text_format(out, "#SBATCH --ntasks=1\n#SBATCH --cpus-per-task=%u\n#SBATCH --time=%s\n", j->cpus, j->time);
  text_format(out, "#SBATCH --signal=B:USR1@%d\n#SBATCH --requeue\n#SBATCH --open-mode=append\n", SLURM_NOTICE_S);
  text_format(out, "#SBATCH --output=weft-%s.%%a.log\n", name);
}

void sweep_slurm_write(const slurm_job *j, arena *a, text *out) {
  const char *name = plain_name(j->name, a);
  write_header(j, name, out);
  text_format(
      out,
      "#\n# Sweep %s in %u parts, one array task each. A task that is told to stop (%d s before its time ends, or\n"
      "# by preemption) saves its runs, exits 75 and is requeued; --resume goes on from there. Submit it again\n"
      "# as often as you like: what is done is not run again. When all tasks are done:\n",
      j->name, j->tasks, SLURM_NOTICE_S);
  const char *program = output_shell_word(j->program, a), *sweep = output_shell_word(j->sweep, a);
  const char *db = output_shell_word(j->db, a);
  text_format(out, "#   %s db merge", program);
  const int stem = (int)strlen(j->db) - (text_ends(j->db, ".db") ? 3 : 0);
  for (u32 i = 0; i < j->tasks; i++) {
    text_format(out, " %s", output_shell_word(arena_format(a, "%.*s.%uof%u.db", stem, j->db, i, j->tasks), a));
  }
  text_format(out, " --db %s\n\ncd %s || exit 66\n", db, output_shell_word(j->folder, a));
  text_format(out, "%s sweep %s --resume --shard \"$SLURM_ARRAY_TASK_ID/%u\" -j %u --db %s%s &\n", program, sweep,
              j->tasks, j->jobs, db, j->options);
  text_add(out, "sweep=$!\n"
                "trap 'kill -USR1 \"$sweep\"' USR1 TERM\n"
                "while kill -0 \"$sweep\" 2> /dev/null; do wait \"$sweep\"; done # a signal ends a wait early\n"
                "wait \"$sweep\"\n"
                "code=$?\n"
                "if [ \"$code\" -eq 75 ]; then\n"
                "  scontrol requeue \"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}\"\n"
                "fi\n"
                "exit \"$code\"\n");
}
