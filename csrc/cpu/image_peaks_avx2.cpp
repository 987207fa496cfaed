#define DISSECT_LEVEL avx2
#include "image_peaks_impl.h"
