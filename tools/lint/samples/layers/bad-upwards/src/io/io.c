#include "reactor/reactor.h"
