// Requests to stop that come as signals: the first lets the step finish and a checkpoint be written.
#pragma once

#include "base/status.h"

// From here on SIGINT, SIGTERM and SIGUSR1 are noted instead of ending the process. A second SIGINT
// ends it at once.
void stop_install(void);
// CODE_OK, or the code to end with: CODE_INTERRUPTED after SIGINT, CODE_REQUEUE after the others.
status_code stop_requested(void);
