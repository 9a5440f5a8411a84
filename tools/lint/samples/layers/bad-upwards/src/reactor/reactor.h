struct reactor;
