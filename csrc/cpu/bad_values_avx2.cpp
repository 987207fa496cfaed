#define DISSECT_LEVEL avx2
#include "bad_values_impl.h"
