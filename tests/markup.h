// Checks of HTML and SVG as text: whether it is well-formed, and what its tags hold.
#pragma once

#include "base/text.h"

// NULL when every tag is closed in order, every attribute quoted and no bare < or & stands in text;
// otherwise what is wrong and where (static for the call: copied into `out`).
const char *markup_wrong(const char *page, char *out, size_t room);
// How often `part` occurs inside tags (not in text between them).
u32 markup_in_tags(const char *page, const char *part);
u32 markup_count(const char *page, const char *part); // anywhere
