#include "io/gone.h"
