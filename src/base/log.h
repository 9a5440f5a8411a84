/*
 * Log lines to stderr, one line each, with the priority prefix that journald understands when
 * stderr is not a terminal. Only daemon, ctl, cluster, api, vm and the exports' control side log;
 * libraries and the request path report upwards. Any thread (each line is one write).
 */
#pragma once

#include "base/macros.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
/* Parses "error", "warn", "info" or "debug"; -EINVAL else. */
int log_level_parse(const char *text, enum log_level *ret_level);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
