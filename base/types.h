// Fixed-width names, and the one assertion of the project: it holds in every build.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#define COUNT_OF(a) ((u32)(sizeof(a) / sizeof((a)[0])))

// A bug: `require(x)` that fails calls the handler set with bug_set_handler (runtime/main.c prints
// one sentence and exits 70); without a handler it aborts.
#define require(cond) ((cond) ? (void)0 : bug_fail(__FILE__, __LINE__, #cond))

typedef void bug_handler(const char *file, int line, const char *what);
void bug_set_handler(bug_handler *handler);
_Noreturn void bug_fail(const char *file, int line, const char *what);
