/*
 * Prints the OpenAPI description of the REST API, as it stands in docs/openapi.json; with a file's
 * name it compares instead, and ends with 1 when they differ.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/schema.h"

static int compare(const char *file, json_t *described)
{
	json_error_t where;
	json_t *committed = json_load_file(file, JSON_REJECT_DUPLICATES, &where);
	bool same = committed != NULL && json_equal(committed, described);

	if (committed == NULL) {
		fprintf(stderr, "%s: %s\n", file, where.text);
	} else if (!same) {
		fprintf(stderr,
		    "%s is not what src/api/schema.c says: write it anew with\n"
		    "  sluice-openapi > docs/openapi.json\n",
		    file);
	}
	json_decref(committed);
	return same ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	json_t *described = schema_openapi();
	int rc = EXIT_SUCCESS;

	if (described == NULL) {
		fprintf(stderr, "the description cannot be made\n");
		return EXIT_FAILURE;
	}
	if (argc > 1) {
		rc = compare(argv[1], described);
	} else {
		json_dumpf(described, stdout, JSON_INDENT(1));
		putchar('\n');
	}
	json_decref(described);
	return rc;
}
