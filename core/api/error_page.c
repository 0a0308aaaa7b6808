/* SPDX-License-Identifier: MIT */
#include "api/error_page.h"

#include "base/utf8.h"
#include "script/excerpt.h"

#include <stdio.h>

/* --- who asks --------------------------------------------------------------------- */

#define QUALITY_MAX 1000

/* "0.8" in thousandths; what is no number is 0. */
static int read_quality(struct slice text)
{
	int quality = 0, place = QUALITY_MAX;

	for (size_t i = 0; i < text.size && place > 0; i++) {
		if (text.at[i] == '.' && i == 1)
			continue;
		if (text.at[i] < '0' || text.at[i] > '9')
			return 0;
		quality += (text.at[i] - '0') * place;
		place /= 10;
	}
	return quality < QUALITY_MAX ? quality : QUALITY_MAX;
}

/* How much a range ("text/html;q=0.8") says of itself; cuts its parameters off. */
static int range_quality(struct slice *range)
{
	struct slice rest = *range, parameter;
	int quality = QUALITY_MAX;

	slice_cut(&rest, ';', range);
	*range = slice_trim(*range);
	while (slice_cut(&rest, ';', &parameter)) {
		parameter = slice_trim(parameter);
		if (slice_starts_with(parameter, SLICE("q=")) ||
		    slice_starts_with(parameter, SLICE("Q=")))
			quality = read_quality(
				slice_of(parameter.at + 2, parameter.size - 2));
	}
	return quality;
}

/* What Accept gives this type: the most exact range that covers it decides. */
static int quality_of(struct slice accept, struct slice group, struct slice type)
{
	const struct slice covering[] = { SLICE("*/*"), group, type };
	int found[] = { 0, -1, -1 };
	struct slice range;

	while (slice_cut(&accept, ',', &range)) {
		int quality = range_quality(&range);

		for (size_t i = 0; i < 3; i++)
			if (slice_equal_nocase(range, covering[i]))
				found[i] = quality;
	}
	return found[2] >= 0 ? found[2] : found[1] >= 0 ? found[1] : found[0];
}

bool error_page_wanted(struct slice accept)
{
	int html, json, problem;

	if (!accept.size)
		return false;
	html = quality_of(accept, SLICE("text/*"), SLICE("text/html"));
	json = quality_of(accept, SLICE("application/*"), SLICE("application/json"));
	problem = quality_of(accept, SLICE("application/*"),
			     SLICE("application/problem+json"));
	return html > json && html > problem;
}

/* --- the page --------------------------------------------------------------------- */

static const char style[] =
	":root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--text:#1c2330;"
	"--soft:#667085;--edge:#e3e7ee;--bad:#c4302b;--mark:#fdeceb;--code:#fbfcfe}\n"
	"@media(prefers-color-scheme:dark){:root{--back:#12151b;--card:#1a1f28;"
	"--text:#e7eaf0;--soft:#98a2b3;--edge:#2b3240;--bad:#ff7b72;--mark:#3d2022;"
	"--code:#151a22}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0;padding:5vh 1.25rem;background:var(--back);color:var(--text);"
	"font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\n"
	"main{max-width:60rem;margin:0 auto}\n"
	".request{margin:0;color:var(--soft);overflow-wrap:anywhere}\n"
	"h1{margin:.25rem 0 .75rem;font-size:1.75rem;line-height:1.2;font-weight:650}\n"
	"h1 b{color:var(--bad);margin-right:.5rem}\n"
	".kind{display:inline-block;vertical-align:.25em;margin-left:.6rem;padding:.1rem "
	".6rem;border:1px solid var(--edge);border-radius:1rem;color:var(--soft);"
	"font-size:.85rem;font-weight:400}\n"
	".detail{margin:0 0 1.75rem;font-size:1.1rem;overflow-wrap:anywhere}\n"
	"section{margin:0 0 1.5rem;background:var(--card);border:1px solid var(--edge);"
	"border-radius:.6rem;overflow:hidden}\n"
	"h2{margin:0;padding:.6rem 1rem;border-bottom:1px solid var(--edge);"
	"font-size:.9rem;font-weight:600;overflow-wrap:anywhere}\n"
	"ol,code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"
	"'DejaVu Sans Mono',monospace;font-size:.875rem}\n"
	"ol{margin:0;padding:.5rem 0;list-style:none;background:var(--code);"
	"overflow-x:auto}\n"
	"ol>li{display:flex;width:max-content;min-width:100%;padding:.08rem 1rem;"
	"white-space:pre;tab-size:4}\n"
	".source i{flex:none;width:3.5rem;padding-right:1rem;color:var(--soft);"
	"font-style:normal;text-align:right;user-select:none}\n"
	".source .here{background:var(--mark);box-shadow:inset 3px 0 var(--bad)}\n"
	".source .here i{color:var(--bad);font-weight:700}\n"
	"footer{display:flex;flex-wrap:wrap;gap:.25rem 2rem;color:var(--soft);"
	"font-size:.875rem}\n"
	"footer code{color:var(--text);user-select:all;overflow-wrap:anywhere}\n";

/* Text as text, in an element or in an attribute with double quotes. */
static void put(struct buf *out, struct slice text)
{
	static const struct slice names[128] = {
		['&'] = { "&amp;", 5 },	 ['<'] = { "&lt;", 4 },	  ['>'] = { "&gt;", 4 },
		['"'] = { "&quot;", 6 }, ['\''] = { "&#39;", 5 },
	};

	while (text.size) {
		unsigned char c = (unsigned char)text.at[0];
		size_t size = utf8_character(text);

		if (size == 0 || (c < ' ' && c != '\t' && c != '\n') || c == 0x7f)
			buf_append(out, SLICE(UTF8_REPLACEMENT));
		else if (size == 1 && names[c].size)
			buf_append(out, names[c]);
		else
			buf_append(out, slice_of(text.at, size));
		size += size == 0;
		text.at += size;
		text.size -= size;
	}
}

/* What is said, without a position in front that the excerpt's heading repeats. */
static struct slice told(const struct error_page *page)
{
	struct slice detail = slice_text(page->why->detail);
	struct slice file = page->excerpt->file;
	char prefix[sizeof(page->why->detail)];
	int size = snprintf(prefix, sizeof(prefix), "%.*s:%u: ", SLICE_PRINT(file),
			    page->excerpt->line);
	struct slice position = slice_of(prefix, (size_t)size);

	if (!file.size || size >= (int)sizeof(prefix) ||
	    !slice_starts_with(detail, position) || detail.size == position.size)
		return detail;
	return slice_of(detail.at + position.size, detail.size - position.size);
}

static void put_source(struct buf *out, const struct excerpt *excerpt)
{
	if (!excerpt->file.size)
		return;
	buf_append(out, SLICE("<section class=\"source\">\n<h2 class=\"mono\">"));
	put(out, excerpt->file);
	buf_printf(out, ":%u</h2>\n", excerpt->line);
	if (excerpt->count)
		buf_append(out, SLICE("<ol>\n"));
	for (size_t i = 0; i < excerpt->count; i++) {
		unsigned line = excerpt->first + (unsigned)i;

		buf_printf(out, "<li%s><i>%u</i><span>",
			   line == excerpt->line ? " class=\"here\" aria-current=\"true\""
						 : "",
			   line);
		put(out, excerpt->lines[i]);
		buf_append(out, SLICE("</span></li>\n"));
	}
	if (excerpt->count)
		buf_append(out, SLICE("</ol>\n"));
	buf_append(out, SLICE("</section>\n"));
}

static void put_traceback(struct buf *out, struct slice traceback)
{
	struct slice line;

	if (!traceback.size)
		return;
	buf_append(out, SLICE("<section>\n<h2>Traceback</h2>\n<ol>\n"));
	while (traceback_next(&traceback, &line)) {
		buf_append(out, SLICE("<li>"));
		put(out, line);
		buf_append(out, SLICE("</li>\n"));
	}
	buf_append(out, SLICE("</ol>\n</section>\n"));
}

static void put_head(struct buf *out, const struct error_page *page)
{
	int status = fault_status(page->why);
	const char *title = fault_title(page->why->kind);

	buf_printf(out,
		   "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta "
		   "charset=\"utf-8\">\n<meta name=\"viewport\" "
		   "content=\"width=device-width, initial-scale=1\">\n<title>%d %s: ",
		   status, title);
	put(out, page->method);
	buf_append_byte(out, ' ');
	put(out, page->path);
	buf_printf(out, "</title>\n<style>\n%s</style>\n</head>\n", style);
}

void error_page_write(const struct error_page *page, struct buf *out)
{
	const struct fault *why = page->why;

	put_head(out, page);
	buf_append(out, SLICE("<body>\n<main>\n<p class=\"request mono\">"));
	put(out, page->method);
	buf_append_byte(out, ' ');
	put(out, page->path);
	buf_printf(out,
		   "</p>\n<h1><b>%d</b>%s<span class=\"kind mono\">%s</span></h1>\n"
		   "<p class=\"detail\">",
		   fault_status(why), fault_title(why->kind), fault_name(why->kind));
	put(out, told(page));
	buf_append(out, SLICE("</p>\n"));
	put_source(out, page->excerpt);
	put_traceback(out, page->traceback);
	buf_append(out, SLICE("<footer>"));
	if (page->trace_id.size) {
		buf_append(out, SLICE("<span>trace <code>"));
		put(out, page->trace_id);
		buf_append(out, SLICE("</code></span>"));
	}
	if (page->generation)
		buf_printf(out, "<span>generation <code>%u</code></span>",
			   page->generation);
	buf_append(out, SLICE("</footer>\n</main>\n</body>\n</html>\n"));
}
