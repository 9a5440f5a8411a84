/*
 * A sample header: it says what it is for, and on which thread. Pure, any thread.
 */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

int sample(int a);

#ifdef __cplusplus
}
#endif
