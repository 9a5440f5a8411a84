#include "fake.h"
#include "volume/volume_io.h"
