#define DISSECT_LEVEL baseline
#include "iou_counts_impl.h"
