// How every kernel is started. The same kernels run on the CPU in tests/simt, which brings its own
// launch().
#pragma once

#ifdef __CUDACC__

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

// Shared memory of a block: count elements of type.
#define GANFAST_SHARED(type, name, count) __shared__ type name[count]

namespace ganfast {

template <class... Parameters>
void launch(const char* name, void (*kernel)(Parameters...), int grid, int block,
            cudaStream_t stream, const std::type_identity_t<Parameters>&... arguments) {
  kernel<<<grid, block, 0, stream>>>(arguments...);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
    throw std::runtime_error(std::string("ganfast: the kernel ") + name +
                             " could not be started: " + cudaGetErrorString(error));
  }
}

}  // namespace ganfast

#else
#include "simt.h"
#endif
