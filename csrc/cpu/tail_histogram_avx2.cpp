#define DISSECT_LEVEL avx2
#include "tail_histogram_impl.h"
