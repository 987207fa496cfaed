#define DISSECT_LEVEL baseline
#include "tail_histogram_impl.h"
