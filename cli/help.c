/* Help at three levels, from the table. */
#include <string.h>

#include "cli.h"

#define WIDTH 34

static void print_item(const char *name, const char *metavar, const char *help, const char *note)
{
	char text[96];

	snprintf(text, sizeof(text), "%s%s%s", name, metavar != NULL ? " " : "",
	    metavar != NULL ? metavar : "");
	if (strlen(text) + 2 > WIDTH) {
		printf("  %s\n  %-*s%s%s\n", text, WIDTH, "", help, note);
	} else {
		printf("  %-*s%s%s\n", WIDTH, text, help, note);
	}
}

static void print_options(const struct cli_option *options, const char *title)
{
	if (options->value == CLI_END) {
		return;
	}
	printf("\n%s\n", title);
	for (; options->value != CLI_END; options++) {
		print_item(options->name, options->metavar, options->help,
		    options->required ? " (required)" : "");
	}
}

static void print_command(const struct cli_command *c)
{
	printf("usage: sluice %s%s%s%s%s", c->noun, c->verb != NULL ? " " : "",
	    c->verb != NULL ? c->verb : "", c->positional != NULL ? " " : "",
	    c->positional != NULL ? c->positional : "");
	for (const struct cli_option *o = c->options; o->value != CLI_END; o++) {
		if (o->required) {
			printf(" %s%s%s", o->name, o->metavar != NULL ? " " : "",
			    o->metavar != NULL ? o->metavar : "");
		}
	}
	printf(" [OPTION]...\n\n%s\n", c->help);
	print_options(c->options, "options:");
	print_options(cli_global_options, "always:");
}

static void print_noun(const char *noun)
{
	printf("usage: sluice %s VERB [OPTION]...\n\n%s\n\nverbs:\n", noun, cli_noun_help(noun));
	for (size_t i = 0; i < cli_command_count; i++) {
		if (strcmp(cli_commands[i].noun, noun) == 0) {
			print_item(cli_commands[i].verb, cli_commands[i].positional,
			    cli_commands[i].help, "");
		}
	}
	printf("\n`sluice %s VERB --help` says more.\n", noun);
}

/* A noun, and in brackets what it can do. */
static void print_nouns(void)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		if (c->verb == NULL) {
			print_item(c->noun, NULL, c->help, "");
			continue;
		}
		if (i > 0 && strcmp(cli_commands[i - 1].noun, c->noun) == 0) {
			continue;
		}
		print_item(c->noun, NULL, cli_noun_help(c->noun), "");
		printf("  %-*s", WIDTH, "");
		for (size_t k = i; k < cli_command_count; k++) {
			if (strcmp(cli_commands[k].noun, c->noun) == 0) {
				printf("%s%s", k > i ? " | " : "", cli_commands[k].verb);
			}
		}
		putchar('\n');
	}
}

void help_print(const struct cli_args *args)
{
	if (args->command != NULL) {
		print_command(args->command);
		return;
	}
	if (args->noun != NULL) {
		print_noun(args->noun);
		return;
	}
	printf(
	    "usage: sluice NOUN [VERB] [OPTION]...\n\nTalks to sluiced, which serves virtual disks "
	    "and changes what is behind them while they are used.\n\nnouns:\n");
	print_nouns();
	print_options(cli_global_options, "always:");
	print_item("--version", NULL, "print the version", "");
	printf(
	    "\nSizes take K, M, G, T (binary). Exit status: 0 done, 1 refused or failed, 2 wrong "
	    "usage.\n`sluice NOUN --help` says more.\n");
}
