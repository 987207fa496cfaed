#include "formula_search.h"

#include "engine.h"
#include "share.h"

namespace dissect {

void formula_search(const FormulaSearchParams& params, int num_threads) {
  const LabelRows rows(params);
  std::vector<std::unique_ptr<FormulaSearcher>> searchers(std::max(1, num_threads));
  share(params.num_units, num_threads, [&](int64_t unit, int worker) {
    if (!searchers[worker]) searchers[worker] = std::make_unique<FormulaSearcher>(params, rows);
    searchers[worker]->search(unit);
  });
}

}  // namespace dissect
