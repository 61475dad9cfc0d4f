// What a kernel gets from torch besides its tensors, without a header of torch.
#pragma once

#include <cstdint>

namespace ganfast {

// The stream of a launch, and scratch memory that lives as long as the call of the op.
struct Workspace {
  void* stream;
  double* (*allocate)(void* owner, int64_t count);
  void* owner;

  double* doubles(int64_t count) const { return count > 0 ? allocate(owner, count) : nullptr; }
};

}  // namespace ganfast

// Declares kernels on both devices: `declarations` takes what those on CUDA have besides.
#define GANFAST_ON_BOTH(declarations)        \
  namespace cpu {                            \
  declarations()                             \
  }                                          \
  namespace cuda {                           \
  declarations(, const Workspace& workspace) \
  }
