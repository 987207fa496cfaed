#define DISSECT_LEVEL baseline
#include "image_peaks_impl.h"
