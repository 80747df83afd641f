// Which process a run belongs to, and whether that process is still there.
#include "runtime/run_db_file.h"
#include "base/file.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

// The first line of a small file, "" when it cannot be read.
static void read_line(const char *path, char *out, size_t room) {
  out[0] = 0;
  FILE *f = fopen(path, "re");
  if (!f) return;
  if (!fgets(out, (int)room, f)) out[0] = 0;
  fclose(f);
  out[strcspn(out, "\n")] = 0;
}

// Start time in clock ticks since boot: tells a reused pid from the process that had it. 0: unknown,
// -1: there is none, or only a zombie that nobody waited for.
static i64 pid_start(i64 pid) {
  char path[64], line[1024];
  snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
  read_line(path, line, sizeof line);
  if (!line[0]) return kill((pid_t)pid, 0) != 0 && errno == ESRCH ? -1 : 0;
  char *at = strrchr(line, ')'); // the name may hold blanks; fields count from behind it
  if (at && text_starts(at, ") Z")) return -1;
  if (at) at++;
  for (int field = 3; field < 22 && at; field++) at = strchr(at + 1, ' ');
  return at ? strtoll(at + 1, NULL, 10) : 0;
}

void run_owner_self(run_owner *ret_owner) {
  *ret_owner = (run_owner){0};
  if (gethostname(ret_owner->host, sizeof ret_owner->host - 1) != 0)
    snprintf(ret_owner->host, sizeof ret_owner->host, "unknown");
  char boot[64], space[64];
  read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
  ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
  space[n > 0 ? n : 0] = 0;
  if (boot[0]) snprintf(ret_owner->boot, sizeof ret_owner->boot, "%.60s %.60s", boot, space);
  ret_owner->pid = getpid();
  ret_owner->pid_start = pid_start(ret_owner->pid);
}

void run_owner_read(sqlite3_stmt *s, int at, run_owner *ret_owner) {
  const char *host = (const char *)sqlite3_column_text(s, at);
  const char *boot = (const char *)sqlite3_column_text(s, at + 1);
  *ret_owner = (run_owner){0};
  snprintf(ret_owner->host, sizeof ret_owner->host, "%s", host ? host : "");
  snprintf(ret_owner->boot, sizeof ret_owner->boot, "%s", boot ? boot : "");
  ret_owner->pid = sqlite3_column_int64(s, at + 2);
  ret_owner->pid_start = sqlite3_column_int64(s, at + 3);
}

owner_state run_owner_look(const run_owner *o) {
  run_owner self;
  run_owner_self(&self);
  if (!self.boot[0] || strcmp(self.boot, o->boot) != 0 || strcmp(self.host, o->host) != 0) return OWNER_ELSEWHERE;
  if (o->pid <= 0) return OWNER_GONE;
  i64 start = pid_start(o->pid);
  if (start < 0 || (start > 0 && o->pid_start > 0 && start != o->pid_start)) return OWNER_GONE;
  return OWNER_ALIVE;
}

run_state run_owner_judge(const run_owner *o, i64 heartbeat_ms) {
  owner_state seen = run_owner_look(o);
  if (seen == OWNER_GONE) return RUN_KILLED;
  if (seen == OWNER_ALIVE) return RUN_RUNNING; // one long step is no death
  return clock_unix_ms() - heartbeat_ms > DB_STALE_MS ? RUN_KILLED : RUN_RUNNING;
}

bool run_owner_on_network(const char *path) {
  char folder[DB_PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) + 1 : 0;
  require(n < sizeof folder);
  memcpy(folder, path, n);
  folder[n] = 0;
  struct statfs fs;
  if (statfs(n ? folder : ".", &fs) != 0) return false;
  static const u32 kinds[] = {
      0x6969 /* NFS */,       0xff534d42 /* CIFS */, 0xfe534d42 /* SMB2 */,   0x0bd00bd0 /* Lustre */,
      0x47504653 /* GPFS */,  0x00c36400 /* Ceph */, 0x19830326 /* BeeGFS */, 0x65735546 /* FUSE */,
      0xaad7aaea /* PanFS */, 0x5346414f /* AFS */,  0x01021997 /* 9P */,     0x564c /* NCP */,
  };
  for (u32 i = 0; i < COUNT_OF(kinds); i++)
    if ((u32)fs.f_type == kinds[i]) return true;
  return false;
}
