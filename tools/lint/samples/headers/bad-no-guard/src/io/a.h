/*
 * A sample header: it says what it is for, and on which thread. Pure, any thread.
 */
struct a;
