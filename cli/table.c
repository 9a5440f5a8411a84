/* Columns aligned for people, and colours where there is a terminal that wants them. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define GAP 2

static const char *color_of(const char *word)
{
	static const struct {
		const char *word;
		const char *color;
	} table[] = {
	    {"up", "\033[32m"},
	    {"done", "\033[32m"},
	    {"ok", "\033[32m"},
	    {"serving", "\033[32m"},
	    {"degraded", "\033[33m"},
	    {"damped", "\033[33m"},
	    {"connecting", "\033[33m"},
	    {"warn", "\033[33m"},
	    {"aborted", "\033[33m"},
	    {"rolled-back", "\033[33m"},
	    {"down", "\033[31m"},
	    {"refused", "\033[31m"},
	    {"error", "\033[31m"},
	    {"bad", "\033[31m"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].word, word) == 0) {
			return table[i].color;
		}
	}
	return NULL;
}

static bool colors_wanted(void)
{
	const char *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && (no == NULL || no[0] == '\0');
}

void print_colored(const char *text, int width)
{
	const char *color = colors_wanted() ? color_of(text) : NULL;

	if (color != NULL) {
		printf("%s%s\033[0m%*s", color, text, width - (int)strlen(text), "");
	} else {
		printf("%-*s", width, text);
	}
}

void print_field(const char *name, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n >= 0) {
		printf("%-14s", name);
		print_colored(text[0] != '\0' ? text : "-", 0);
		putchar('\n');
		free(text);
	}
}

void table_init(struct table *t, const char *const *headings)
{
	*t = (struct table){.headings = headings};
	while (headings[t->columns] != NULL) {
		t->columns++;
	}
}

void table_add(struct table *t, const char *fmt, ...)
{
	char **cells = realloc(t->cells, (t->rows + 1) * sizeof(*cells));
	va_list ap;
	int n;

	sluice_assert(cells != NULL);
	t->cells = cells;
	va_start(ap, fmt);
	n = vasprintf(&cells[t->rows], fmt, ap);
	va_end(ap);
	sluice_assert(n >= 0);
	t->rows++;
}

/* Characters, not bytes: names of files need not be ASCII. */
static int width_of(const char *text)
{
	int n = 0;

	for (; *text != '\0'; text++) {
		n += ((unsigned char)*text & 0xc0) != 0x80;
	}
	return n;
}

static bool is_number(const struct table *t, unsigned column)
{
	return t->headings[column][0] == '#';
}

static const char *heading(const struct table *t, unsigned column)
{
	return t->headings[column] + is_number(t, column);
}

static int column_width(const struct table *t, unsigned column)
{
	int width = width_of(heading(t, column));

	for (size_t i = column; i < t->rows; i += t->columns) {
		width = MAX(width, width_of(t->cells[i]));
	}
	return width;
}

static void print_cell(const struct table *t, unsigned column, const char *text)
{
	bool last = column + 1 == t->columns;
	int pad = column_width(t, column) - width_of(text);

	if (is_number(t, column)) {
		printf("%*s%s", pad, "", text);
		pad = 0;
	} else {
		print_colored(text, 0);
	}
	printf("%*s", last ? 0 : pad + GAP, "");
	if (last) {
		putchar('\n');
	}
}

void table_end(struct table *t, const char *none)
{
	if (t->rows == 0) {
		printf("%s\n", none);
	} else {
		for (unsigned c = 0; c < t->columns; c++) {
			print_cell(t, c, heading(t, c));
		}
	}
	for (size_t i = 0; i < t->rows; i++) {
		print_cell(t, (unsigned)(i % t->columns), t->cells[i]);
	}
	for (size_t i = 0; i < t->rows; i++) {
		free(t->cells[i]);
	}
	free(t->cells);
	*t = (struct table){0};
}
