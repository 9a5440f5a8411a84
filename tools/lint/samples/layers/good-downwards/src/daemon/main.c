#include "volume/volume_io.h"
