/* include/sluice.h first and alone: it must need nothing else, in the language that this is compiled as. */
#include <sluice.h>

int main(void)
{
	struct sluice_error error;

	return sizeof(error.message) == SLUICE_TEXT_SIZE && sluice_version() != NULL ? 0 : 1;
}
