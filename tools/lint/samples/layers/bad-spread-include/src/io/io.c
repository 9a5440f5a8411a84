  #  include   "reactor/reactor.h"
