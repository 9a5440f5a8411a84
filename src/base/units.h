/*
 * Sizes and times as people write them: "10G" (binary K, M, G, T), "2s", "500ms". Pure, any thread.
 */
#pragma once

#include "base/macros.h"

/* Bytes. -EINVAL for anything but digits and one optional suffix K, M, G, T; -ERANGE on overflow.
 */
int units_parse_size(const char *text, uint64_t *ret_bytes);
/* "OFFSET+LENGTH", each a size. */
int units_parse_range(const char *text, uint64_t *ret_offset, uint64_t *ret_length);
/* Shortest exact form ("10G", "1536K", "513"); returns buf. */
const char *units_format_size(uint64_t bytes, char *buf, size_t len);
/* "850 us", "12.4 ms", "3.10 s"; returns buf. */
const char *units_format_us(uint64_t us, char *buf, size_t len);
