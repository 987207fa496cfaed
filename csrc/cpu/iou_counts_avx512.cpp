#define DISSECT_LEVEL avx512
#include "iou_counts_impl.h"
