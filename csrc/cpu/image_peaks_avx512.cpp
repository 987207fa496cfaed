#define DISSECT_LEVEL avx512
#include "image_peaks_impl.h"
