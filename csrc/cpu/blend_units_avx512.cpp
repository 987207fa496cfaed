#define DISSECT_LEVEL avx512
#include "blend_units_impl.h"
