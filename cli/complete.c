/* Completion rules for bash, from the table. */
#include <string.h>

#include "cli.h"

static void print_words(const struct cli_option *options)
{
	for (; options->value != CLI_END; options++) {
		printf(" %s", options->name);
	}
}

static void print_nouns(void)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		if (i == 0 || strcmp(cli_commands[i - 1].noun, cli_commands[i].noun) != 0) {
			printf(" %s", cli_commands[i].noun);
		}
	}
}

static void print_verbs(const char *noun)
{
	printf("\t\"%s \") words=\"", noun);
	for (size_t i = 0; i < cli_command_count; i++) {
		if (strcmp(cli_commands[i].noun, noun) == 0 && cli_commands[i].verb != NULL) {
			printf(" %s", cli_commands[i].verb);
		}
	}
	printf(" --help\" ;;\n");
}

int complete_run(const struct cli_args *args)
{
	printf("# bash completion for sluice\n_sluice()\n{\n\tlocal words\n"
	       "\tlocal current=\"${COMP_WORDS[COMP_CWORD]}\"\n"
	       "\tcase \"$([ \"$COMP_CWORD\" -gt 1 ] && echo \"${COMP_WORDS[1]} "
	       "$([ \"$COMP_CWORD\" -gt 2 ] && echo \"${COMP_WORDS[2]}\")\")\" in\n");
	printf("\t\"\") words=\"");
	print_nouns();
	printf(" --help --version\" ;;\n");
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		if (c->verb != NULL && (i == 0 || strcmp(cli_commands[i - 1].noun, c->noun) != 0)) {
			print_verbs(c->noun);
		}
		printf("\t\"%s %s\") words=\"", c->noun, c->verb != NULL ? c->verb : "");
		print_words(c->options);
		print_words(cli_global_options);
		printf("\" ;;\n");
	}
	printf("\t*) words= ;;\n\tesac\n"
	       "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n}\n"
	       "complete -o default -F _sluice sluice\n");
	return CLI_DONE;
}
