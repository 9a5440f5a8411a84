/*
 * The command line. One table of commands (commands.c) makes the parser, the help at every level and
 * the shell completion; a command is one call of the REST API through libsluice, and a function that
 * prints its answer for people.
 *
 * Thread rule: one thread.
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "base/error.h"
#include "sluice.h"

#define CLI_OPTIONS_MAX 20

/* Exit statuses. */
#define CLI_DONE 0
#define CLI_FAILED 1
#define CLI_USAGE 2

enum cli_value {
	CLI_END = 0, /* of a list of options */
	CLI_FLAG,    /* no value: true */
	CLI_NEGATE,  /* no value: false */
	CLI_TEXT,
	CLI_SIZE,
	CLI_INTEGER,
};

struct cli_option {
	const char *name; /* "--via" */
	enum cli_value value;
	const char *metavar; /* "IFACE" */
	const char *member;  /* of the path, the query or the body; NULL: build() takes it */
	bool required;
	const char *help;
};

struct cli_args {
	const struct cli_command *command;
	const char *noun; /* as typed, when there is no command */
	const char *positional;
	const char *values[CLI_OPTIONS_MAX]; /* by the command's options; flags: "" */
	const char *connect;
	bool json;
	bool help;
	bool version;
};

struct cli_command {
	const char *noun;
	const char *verb;	/* NULL: the noun alone */
	const char *positional; /* "NAME" is the member "name"; NULL: none */
	const char *help;
	const char *method; /* NULL: run() does it all */
	const char *path;   /* {member} is replaced */
	const struct cli_option *options;
	/* Optional: what options without member mean. -EINVAL: wrong usage. */
	int (*build)(const struct cli_args *args, json_t *body, struct error *err);
	/* Prints the answer for people; returns the exit status. */
	int (*print)(const json_t *answer);
	/* Optional: the exit status of an answer that is printed as JSON. */
	int (*judge)(const json_t *answer);
	int (*run)(const struct cli_args *args);
};

/* -- commands.c */

extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;
/* Those of every command: --json, --connect, --help. */
extern const struct cli_option cli_global_options[];
const char *cli_noun_help(const char *noun);
/* NULL when the command has no such option or it was not given. */
const char *cli_option_value(const struct cli_args *args, const char *name);

/* -- parse.c */

int cli_parse(int argc, char **argv, struct cli_args *ret_args, struct error *err);
/* The path (with its query) and the body of the call; body stays NULL for GET and DELETE. */
int cli_request(
    const struct cli_args *args, char *path, size_t path_len, json_t **ret_body, struct error *err);

/* -- build.c: the options that mean more than one member */

int build_lu_add(const struct cli_args *args, json_t *body, struct error *err);
int build_path_add(const struct cli_args *args, json_t *body, struct error *err);
int build_lu_fault(const struct cli_args *args, json_t *body, struct error *err);
int build_volume_create(const struct cli_args *args, json_t *body, struct error *err);
int build_interface_set(const struct cli_args *args, json_t *body, struct error *err);

/* -- help.c, complete.c */

void help_print(const struct cli_args *args);
int complete_run(const struct cli_args *args);

/* -- main.c */

/* One line on stderr: what, and what to do. Returns CLI_FAILED. */
int cli_fail(const char *message, const char *hint);
int version_run(const struct cli_args *args);

/* -- watch.c */

int watch_run(const struct cli_args *args);

/* -- table.c */

struct table {
	const char *const *headings; /* NULL ends it */
	unsigned columns;
	char **cells; /* owned, columns per row */
	size_t rows;
};
/* "#NAME" as a heading: numbers, aligned to the right. */
void table_init(struct table *t, const char *const *headings);
/* The next cell, row by row; text is copied. */
void table_add(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Prints and frees; `none` when there is no row. */
void table_end(struct table *t, const char *none);
/* A line "name:  value". */
void print_field(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Words for states get a colour where there is a terminal that wants it. */
void print_colored(const char *text, int width);

/* -- format.c: values of a JSON object as people read them; each returns buf or a constant */

#define CLI_TEXT_SIZE 512
const char *text_of(const json_t *object, const char *key);
/* "-" for nothing. */
const char *text_or_dash(const json_t *object, const char *key);
const char *size_of(const json_t *object, const char *key, char *buf, size_t len);
/* Bytes that are no size of a disk: "1.2 GiB". */
const char *bytes_of(const json_t *object, const char *key, char *buf, size_t len);
const char *us_of(const json_t *object, const char *key, char *buf, size_t len);
const char *count_of(const json_t *object, const char *key, char *buf, size_t len);
/* A list of names or ids: "a, b". */
const char *list_of(const json_t *object, const char *key, char *buf, size_t len);
/* "2026-01-31T12:00:00.123Z" as "2026-01-31 12:00:00". */
const char *time_of(const json_t *object, const char *key, char *buf, size_t len);
/* "if1" or "if1 (damped)", of a volume. */
const char *active_of(const json_t *volume, char *buf, size_t len);

/* -- print_*.c */

int print_nothing(const json_t *answer);
int print_status(const json_t *answer);
int print_interface(const json_t *answer);
int print_interface_list(const json_t *answer);
int print_balance(const json_t *answer);
int print_lu(const json_t *answer);
int print_lu_list(const json_t *answer);
int print_lu_check(const json_t *answer);
int judge_lu_check(const json_t *answer);
int print_path(const json_t *answer);
int print_path_list(const json_t *answer);
int print_volume(const json_t *answer);
int print_volume_list(const json_t *answer);
int print_map(const json_t *answer);
int print_candidates(const json_t *answer);
int print_switch(const json_t *answer);
int judge_switch(const json_t *answer);
int print_export(const json_t *answer);
int print_export_list(const json_t *answer);
int print_client(const json_t *answer);
int print_client_list(const json_t *answer);
int print_change(const json_t *answer);
int print_change_list(const json_t *answer);
int print_node(const json_t *answer);
int print_node_list(const json_t *answer);
