// Signals into one flag, the only variable of the program that is not on a stack or in an arena.
#include "runtime/stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t stop_signal;

static void on_signal(int signal_number) {
  stop_signal = signal_number;
}

void stop_install(void) {
  struct sigaction action = {.sa_handler = on_signal};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGUSR1, &action, NULL);
  action.sa_flags = (int)(SA_RESTART | SA_RESETHAND); // the second SIGINT finds the default: the end
  sigaction(SIGINT, &action, NULL);
}

status_code stop_requested(void) {
  const int number = (int)stop_signal;
  return number == 0 ? CODE_OK : number == SIGINT ? CODE_INTERRUPTED : CODE_REQUEUE;
}
