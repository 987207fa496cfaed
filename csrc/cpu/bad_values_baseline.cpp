#define DISSECT_LEVEL baseline
#include "bad_values_impl.h"
