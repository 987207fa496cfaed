// All ops at this level; build_engine.py knows its flags by the file's name.
#define DISSECT_LEVEL avx512
#include "bad_values_impl.h"
#include "blend_units_impl.h"
#include "copy_planes_impl.h"
#include "filter_step_impl.h"
#include "hot_cells_impl.h"
#include "image_peaks_impl.h"
#include "iou_counts_impl.h"
#include "tail_histogram_impl.h"
#include "threshold_sweep_impl.h"
#include "upsample_argmax_impl.h"
