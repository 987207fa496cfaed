#define DISSECT_LEVEL avx512
#include "tail_histogram_impl.h"
