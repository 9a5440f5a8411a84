/*
 * Texts for people that may hold bytes from outside. Pure, any thread.
 */
#pragma once

/* Puts '?' for every byte that is not part of a UTF-8 character (RFC 3629), so that the text can go
 * into JSON. */
void text_make_utf8(char *text);
