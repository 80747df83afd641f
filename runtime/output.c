// stdout: text, JSON documents, and whether all of it arrived.
#include "runtime/output.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void output_bytes(const void *bytes, size_t n) {
  if (n) fwrite(bytes, 1, n, stdout);
}

void output_text(const char *s) {
  output_bytes(s, strlen(s));
}

void output_format(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vfprintf(stdout, format, args);
  va_end(args);
}

void output_line(const char *format, ...) {
  char *line = NULL;
  va_list args;
  va_start(args, format);
  const int size = vasprintf(&line, format, args);
  va_end(args);
  require(size >= 0);
  for (int i = 0; i < size; i++) {
    const u8 byte = (u8)line[i];
    if (byte < ' ' || byte == 0x7f) line[i] = '?';
  }
  output_bytes(line, (size_t)size);
  output_text("\n");
  free(line);
}

void output_flush(void) {
  fflush(stdout);
}

bool output_terminal(void) {
  return isatty(STDOUT_FILENO) == 1;
}

json_t *output_document(const char *name) {
  json_t *document = json_object();
  char schema[128];
  snprintf(schema, sizeof schema, "weft.%s/1", name);
  json_object_set_new(document, "schema", json_string(schema));
  require(document);
  return document;
}

json_t *output_real(double value) {
  return isfinite(value) ? json_real(value) : json_null();
}

// Bytes of the UTF-8 sequence at s, 0 where there is none.
static size_t utf8_length(const u8 *s, size_t room) {
  if (s[0] < 0x80) return 1;
  const size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
  if (!n || s[0] > 0xf4 || n > room) return 0;
  for (size_t i = 1; i < n; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0;
  }
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0; // overlong, surrogates
  if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
  return n;
}

json_t *output_words(const char *bytes, size_t n) {
  text clean = {0};
  for (size_t i = 0; i < n;) {
    const size_t length = utf8_length((const u8 *)bytes + i, n - i);
    if (length)
      text_add_bytes(&clean, bytes + i, length);
    else
      text_add(&clean, "\xef\xbf\xbd");
    i += length ? length : 1;
  }
  json_t *words = json_stringn(text_get(&clean), clean.size);
  text_free(&clean);
  require(words);
  return words;
}

const char *output_shell_word(const char *word, arena *a) {
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:,@%";
  if (word[0] && word[strspn(word, plain)] == 0) return word;
  text quoted = {0};
  text_add(&quoted, "'");
  for (const char *p = word; *p; p++) {
    if (*p == '\'')
      text_add(&quoted, "'\\''");
    else
      text_add_bytes(&quoted, p, 1);
  }
  text_add(&quoted, "'");
  const char *out = arena_text(a, text_get(&quoted));
  text_free(&quoted);
  return out;
}

void output_json(json_t *document) {
  char *dump = json_dumps(document, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
  require(dump);
  output_text(dump);
  output_text("\n");
  free(dump);
  json_decref(document);
}

void output_page(const char *name, bool as_json, text *page) {
  if (as_json) {
    json_t *document = output_document(name);
    json_object_set_new(document, "markdown", output_words(text_get(page), page->size));
    output_json(document);
  } else {
    output_text(text_get(page));
  }
  text_free(page);
}

bool output_finish(status *st) {
  errno = 0;
  if (fflush(stdout) == 0 && !ferror(stdout)) return true;
  return status_fail(st, CODE_IO, "stdout cannot be written: %s", errno ? strerror(errno) : "an earlier write failed");
}
