// The page of a study: the verdict first, then pictures (each also a file, SVG and PNG) and tables.
#pragma once

#include "runtime/picture_chart.h"
#include "runtime/study.h"

// The verdict must stand by now; `title` names the study.
void study_page_begin(study *s, const char *title);
void study_page_end(study *s);
// Draws the chart into the page and as FOLDER/NAME.svg and NAME.png, kept as artifacts.
bool study_chart(study *s, const char *name, const chart *c, const char *caption, status *st);
// "0.07 ± 0.02" (standard deviation over seeds); NULL where nothing is known.
const char *study_spread_words(arena *a, double mean, double sd, u32 count);
const char *study_number(arena *a, double value, int digits); // NULL where not finite
// How long, on what, and what was stated: the last sections of every page.
void study_page_facts(study *s);
