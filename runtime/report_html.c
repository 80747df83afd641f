// HTML pieces and the style sheet of a report.
#include "runtime/report_html.h"

#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--paper:#fff;--text:#1c2126;--muted:#5b646e;--line:#d5dade;--soft:#f4f6f8;"
    "--host:#0072b2;--model:#d55e00}\n"
    "@media (prefers-color-scheme:dark){:root{--paper:#15181c;--text:#e7eaed;--muted:#a0aab4;--line:#343b42;"
    "--soft:#1d2227;--host:#4aa3dc;--model:#ec8140}}\n"
    "body{margin:0;background:var(--paper);color:var(--text);font:16px/1.5 \"Helvetica Neue\",Helvetica,Arial,"
    "\"Liberation Sans\",\"DejaVu Sans\",sans-serif}\n"
    "main{max-width:940px;margin:0 auto;padding:28px 20px 64px}\n"
    "h1{font-size:1.05rem;font-weight:600;color:var(--muted);margin:0 0 6px}\n"
    "h2{font-size:1.3rem;margin:0 0 4px}h3{font-size:1rem;margin:22px 0 0}\n"
    "p{margin:0 0 12px;max-width:76ch}\n"
    ".lead{font-size:1.45rem;line-height:1.35;margin:0 0 22px;max-width:none}\n"
    ".note,figcaption{color:var(--muted);font-size:.92rem}\n"
    ".warn{border-left:4px solid var(--model);padding:6px 12px;background:var(--soft)}\n"
    "section{margin-top:44px}\n"
    "figure{margin:14px 0 6px}\n"
    "figcaption{margin-top:6px;max-width:90ch}\n"
    "svg{max-width:100%;height:auto;display:block}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:18px}\n"
    ".card{border:1px solid var(--line);border-top:4px solid var(--line);border-radius:4px;padding:14px 18px}\n"
    ".card.host{border-top-color:var(--host)}.card.model{border-top-color:var(--model)}\n"
    ".card h2{font-size:1.05rem}.card .note{margin:0 0 8px}\n"
    ".card dl{display:grid;grid-template-columns:auto 1fr;gap:3px 18px;margin:0}\n"
    ".card dt{color:var(--muted)}.card "
    "dd{margin:0;text-align:right;font-weight:600;font-variant-numeric:tabular-nums}\n"
    "table{border-collapse:collapse;font-size:.92rem;margin:10px 0;max-width:100%}\n"
    "th,td{text-align:left;vertical-align:top;padding:4px 18px 4px 0;border-bottom:1px solid var(--line)}\n"
    "th{font-weight:600;color:var(--muted)}td{font-variant-numeric:tabular-nums}\n"
    "td:first-child{white-space:nowrap}td:nth-child(2){max-width:44ch;overflow-wrap:break-word}\n"
    "td:nth-child(n+3){overflow-wrap:anywhere}.facts td:nth-child(2){max-width:none;overflow-wrap:anywhere}\n"
    "details{margin:10px 0}summary{cursor:pointer;color:var(--host)}\n"
    "pre{background:var(--soft);padding:12px;overflow:auto;font-size:.82rem;line-height:1.4}\n"
    ".bar{display:inline-block;height:.7em;vertical-align:middle}\n"
    ".bar.more{background:var(--host)}.bar.less{background:var(--model)}\n"
    "@media print{details{display:none}section{break-inside:avoid}}\n";

void html_begin(text *out, const char *title) {
  text_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n");
  html_words(out, "title", title);
  text_add(out, "<style>\n");
  text_add(out, style);
  picture_style_sheet(out);
  text_add(out, "</style>\n</head>\n<body>\n<main>\n");
}

void html_end(text *out) {
  text_add(out, "</main>\n</body>\n</html>\n");
}

void html_words(text *out, const char *tag, const char *words) {
  text_format(out, "<%s>", tag);
  picture_escape(out, words);
  text_format(out, "</%.*s>\n", (int)strcspn(tag, " "), tag);
}

void html_section(text *out, const char *heading, const char *sentence) {
  text_add(out, "<section>\n");
  html_words(out, "h2", heading);
  if (sentence) html_words(out, "p", sentence);
}

void html_section_end(text *out) {
  text_add(out, "</section>\n");
}

void html_fold(text *out, const char *summary) {
  text_add(out, "<details>\n");
  html_words(out, "summary", summary);
}

void html_fold_end(text *out) {
  text_add(out, "</details>\n");
}

void html_picture(text *out, const picture *p, const char *caption) {
  text_add(out, "<figure>\n");
  picture_svg(p, true, out);
  if (caption) html_words(out, "figcaption", caption);
  text_add(out, "</figure>\n");
}

static void cells_add(text *out, const char *tag, const char *const *cells, u32 count) {
  text_add(out, "<tr>");
  for (u32 i = 0; i < count; i++) {
    text_format(out, "<%s>", tag);
    if (cells[i]) picture_escape(out, cells[i]);
    text_format(out, "</%s>", tag);
  }
  text_add(out, "</tr>\n");
}

void html_table(text *out, const char *const *columns, u32 count) {
  text_add(out, columns ? "<table>\n" : "<table class=\"facts\">\n");
  if (columns) cells_add(out, "th", columns, count);
}

void html_row(text *out, const char *const *cells, u32 count) {
  cells_add(out, "td", cells, count);
}

void html_table_end(text *out) {
  text_add(out, "</table>\n");
}

void html_fact(text *out, const char *name, const char *value) {
  if (value) cells_add(out, "td", (const char *const[]){name, value}, 2);
}

void html_card(text *out, const char *kind, const char *heading, const char *note) {
  text_format(out, "<div class=\"card %s\">\n", kind);
  html_words(out, "h2", heading);
  html_words(out, "p class=\"note\"", note);
  text_add(out, "<dl>\n");
}

void html_figure(text *out, const char *name, const char *value) {
  if (!value) return;
  html_words(out, "dt", name);
  html_words(out, "dd", value);
}

void html_card_end(text *out) {
  text_add(out, "</dl>\n</div>\n");
}
