// Pieces of an HTML page: escaped words, sections, tables and pictures. What is stated by anyone else
// enters a page through these and is escaped; markup is written by the program alone.
#pragma once

#include "runtime/picture.h"

void html_begin(text *out, const char *title);
void html_end(text *out);

// <tag>escaped words</tag>; `tag` may carry attributes: "p class=\"lead\"".
void html_words(text *out, const char *tag, const char *words);
// A section with a heading and, unless NULL, a sentence under it.
void html_section(text *out, const char *heading, const char *sentence);
void html_section_end(text *out);
// A folded part that opens on a click, without scripts.
void html_fold(text *out, const char *summary);
void html_fold_end(text *out);
void html_picture(text *out, const picture *p, const char *caption);

// Tables: html_row takes as many cells as the table has columns; a NULL cell is empty.
void html_table(text *out, const char *const *columns, u32 count); // columns NULL: no heading
void html_row(text *out, const char *const *cells, u32 count);
void html_table_end(text *out);
// A row of a table of two columns; nothing where the value is NULL.
void html_fact(text *out, const char *name, const char *value);

// Cards of key figures.
void html_card(text *out, const char *kind, const char *heading, const char *note);
void html_figure(text *out, const char *name, const char *value); // nothing where the value is NULL
void html_card_end(text *out);
