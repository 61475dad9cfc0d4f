// What the CPU and the CUDA kernels of frechet offer to its op: raw pointers, no torch.
#pragma once

#include "../math/frechet.h"
#include "workspace.h"

namespace ganfast {

// All arrays are contiguous: `matrices` matrices of `size` entries each, float or double.
//   pair_sums    sums_m = sum_i f(x_mi, y_mi), in a fixed order: equal input gives equal bits
//   scaled_cast  x_m    = a_m / |a_m|_F, given squares_m = |a_m|_F^2
//   quintic      p_m    = a I + b g_m + c p_m (n, n), scaled by squares_m = |g_m|_F^2 unless null
// `sums` and `squares` are on the device of the matrices.

namespace cpu {
void frechet_pair_sums(PairSum sum, DType dtype, const void* x, const void* y, int64_t matrices,
                       int64_t size, double* sums);
void frechet_scaled_cast(DType dtype, const double* a, const double* squares, void* x,
                         int64_t matrices, int64_t size);
void frechet_quintic(DType dtype, const Quintic& quintic, const void* g, const double* squares,
                     void* p, int64_t matrices, int64_t n);
}  // namespace cpu

namespace cuda {
void frechet_pair_sums(PairSum sum, DType dtype, const void* x, const void* y, int64_t matrices,
                       int64_t size, double* sums, const Workspace& workspace);
void frechet_scaled_cast(DType dtype, const double* a, const double* squares, void* x,
                         int64_t matrices, int64_t size, const Workspace& workspace);
void frechet_quintic(DType dtype, const Quintic& quintic, const void* g, const double* squares,
                     void* p, int64_t matrices, int64_t n, const Workspace& workspace);
}  // namespace cuda

}  // namespace ganfast
