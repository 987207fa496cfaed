#define DISSECT_LEVEL baseline
#include "blend_units_impl.h"
