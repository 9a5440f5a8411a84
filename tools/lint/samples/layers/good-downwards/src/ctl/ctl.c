#include "volume/volume.h"
/* #include "volume/volume_io.h" in a comment is no include */
static const char *text = "#include \"volume/volume_io.h\"";
