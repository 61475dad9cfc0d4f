// A block reduction whose barrier has been taken out: ThreadSanitizer must report it, or it would
// miss real ones.
#define GANFAST_PLANT_MISSING_BARRIER
#include "../../csrc/cuda/reduce.cuh"

int main() {
  using namespace ganfast;
  std::vector<double> partial(1000, 1.0);
  double sum = 0;
  launch("sum_partials", cuda::sum_partials<double>, 1, cuda::kThreads, nullptr, partial.data(),
         1000, &sum);
  return 0;
}
