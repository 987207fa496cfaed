#define DISSECT_LEVEL avx512
#include "bad_values_impl.h"
