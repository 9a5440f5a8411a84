#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that begins here; 0 when none does. A NUL is no continuation, so it never
 * reads past the end. */
static size_t character_len(const unsigned char *s)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] < 0x80       ? 1
		     : s[0] >> 5 == 6  ? 2
		     : s[0] >> 4 == 14 ? 3
		     : s[0] >> 3 == 30 ? 4
				       : 0;
	uint32_t code;

	if (len < 2) {
		return len;
	}
	code = s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if (s[i] >> 6 != 2) {
			return 0;
		}
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
		return 0;
	}
	return len;
}

void text_make_utf8(char *text)
{
	unsigned char *s = (unsigned char *)text;

	while (*s != '\0') {
		size_t len = character_len(s);

		if (len == 0) {
			*s = '?';
			len = 1;
		}
		s += len;
	}
}
