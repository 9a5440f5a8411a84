/*
 * A sample header: it says what it is for, and on which thread. Pure, any thread.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#ifdef __cplusplus
extern "C" {
#endif

_Static_assert(1, "C11");
int sample(int a);

#ifdef __cplusplus
}
#endif

#endif
