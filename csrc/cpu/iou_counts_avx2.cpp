#define DISSECT_LEVEL avx2
#include "iou_counts_impl.h"
