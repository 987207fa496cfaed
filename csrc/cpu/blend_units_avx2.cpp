#define DISSECT_LEVEL avx2
#include "blend_units_impl.h"
