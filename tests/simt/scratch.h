// Scratch memory for the kernel tests.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "../../csrc/ops/workspace.h"

namespace ganfast::test {

// Allocated exactly, so that a sanitizer sees every overrun, and full of NaN, so that no kernel
// reads what it has not written.
class Scratch {
 public:
  operator Workspace() {
    return {nullptr,
            [](void* self, int64_t count) { return static_cast<Scratch*>(self)->allocate(count); },
            this};
  }

 private:
  double* allocate(int64_t count) {
    memory_.emplace_back(new double[count]);
    std::fill_n(memory_.back().get(), count, std::numeric_limits<double>::quiet_NaN());
    return memory_.back().get();
  }

  std::vector<std::unique_ptr<double[]>> memory_;
};

}  // namespace ganfast::test
