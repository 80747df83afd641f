// What commands print on stdout goes through here, so that it is one stream with one check at its end.
#pragma once

#include "base/arena.h"
#include "base/text.h"
#include <jansson.h>

void output_text(const char *s);
void output_bytes(const void *bytes, size_t n);
void output_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
// A line with words from elsewhere in it: bytes that would move a terminal's cursor become '?'.
void output_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
void output_flush(void);
bool output_terminal(void); // stdout is a terminal

// A document {"schema": "weft.<name>/1"} to add to.
json_t *output_document(const char *name);
// null where the value is not finite, which JSON cannot say.
json_t *output_real(double value);
// Words as JSON: bytes that are not UTF-8 become the replacement character.
json_t *output_words(const char *bytes, size_t n);
// A word as a shell reads it back.
const char *output_shell_word(const char *word, arena *a);
// Prints the document and gives it back.
void output_json(json_t *document);
// A page as it is, or as the "markdown" of a document. Frees the page.
void output_page(const char *name, bool as_json, text *page);

// Whether all of it could be written: CODE_IO otherwise (a full disk).
bool output_finish(status *st);
