// What tests share: cmocka in one include, where recorded data lies, and a folder of one's own.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/file.h"

// The folder of recorded models and texts ($WEFT_SHARED_DIR, or the one known when this was built).
const char *support_shared(void);
// A new empty folder, gone with support_remove.
void support_folder(char *out, size_t room);
void support_remove(const char *folder);
// Fails the test with the status's sentence unless ok.
void support_ok(bool ok, const status *st);
// Expects a failure with this code whose sentence contains `part`.
void support_failed(bool ok, const status *st, status_code code, const char *part);
