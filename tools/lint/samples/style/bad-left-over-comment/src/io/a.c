/* TODO: later */
