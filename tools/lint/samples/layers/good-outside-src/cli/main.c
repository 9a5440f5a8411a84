#include <sluice.h>
#include "base/macros.h"
#include "sluice.h"
#include "table.h"
