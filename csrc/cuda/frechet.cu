// The elementwise parts of the polar iteration on CUDA. The scales stay on the device, so that the
// whole iteration is one stretch of launches.
#include "../ops/frechet.h"

#include "pack.cuh"
#include "reduce.cuh"

namespace ganfast::cuda {
namespace {

constexpr int kPacksOfThread = 4;
// Of one matrix; fixed, so that sums do not depend on the GPU.
constexpr int64_t kMaxBlocksOfMatrix = 256;
// Blocks of one launch; a block takes every gridDim.x-th part.
constexpr int64_t kMaxBlocks = 1 << 20;

// Each matrix is cut into `parts` interleaved parts, one for a block at a time.
struct Cut {
  int64_t matrices, size;
  int parts;
  bool whole;  // all matrices allow 16-byte accesses
};

template <class T>
Cut cut(int64_t matrices, int64_t size, std::initializer_list<const void*> pointers) {
  const int64_t per_block = int64_t(kThreads) * Pack<T>::size * kPacksOfThread;
  bool whole = size % Pack<T>::size == 0;
  for (const void* pointer : pointers) whole = whole && aligned(static_cast<const T*>(pointer));
  return {matrices, size,
          static_cast<int>(std::min(kMaxBlocksOfMatrix, (size + per_block - 1) / per_block)),
          whole};
}

int blocks_of(const Cut& cut) {
  return static_cast<int>(std::min(kMaxBlocks, cut.matrices * cut.parts));
}

// Calls body(offset) for the start of each pack that this thread has in a part of a matrix.
template <int pack, class Body>
__device__ void for_each_pack_of(const Cut& cut, int part, Body body) {
  const int64_t step = int64_t(cut.parts) * kThreads * pack;
  for (int64_t i = (int64_t(part) * kThreads + threadIdx.x) * pack; i < cut.size; i += step)
    body(i);
}

// partial = sum of f(x_i, y_i) over one part of one matrix
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    frechet_pair_sums_kernel(const Cut cut, const T* x, const T* y, double* partial) {
  const int64_t start = blockIdx.x / cut.parts * cut.size;
  const T *x_end = x + start + cut.size, *y_end = y + start + cut.size;
  double sum = 0;
  for_each_pack_of<Pack<T>::size>(cut, blockIdx.x % cut.parts, [&](int64_t i) {
    const Pack<T> xs = load_pack(x + start + i, x_end, cut.whole);
    const Pack<T> ys = load_pack(y + start + i, y_end, cut.whole);
    GANFAST_UNROLL
    for (int j = 0; j < Pack<T>::size; ++j) {
      if (i + j < cut.size) sum += F::of(xs.values[j], ys.values[j]);
    }
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// sums_m = sum of the matrix's partial sums
__global__ void __launch_bounds__(kThreads)
    frechet_total_kernel(const double* partial, int parts, double* sums) {
  double sum = 0;
  for (int i = threadIdx.x; i < parts; i += kThreads)
    sum += partial[int64_t(blockIdx.x) * parts + i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// x = a / |a|_F
template <class T>
__global__ void __launch_bounds__(kThreads)
    frechet_scaled_cast_kernel(const Cut cut, const double* a, const double* squares, T* x) {
  for (int64_t block = blockIdx.x; block < cut.matrices * cut.parts; block += gridDim.x) {
    const int64_t matrix = block / cut.parts, start = matrix * cut.size;
    const double scale = inverse_norm(squares[matrix]);
    for_each_pack_of<1>(cut, static_cast<int>(block % cut.parts),
                        [&](int64_t i) { x[start + i] = static_cast<T>(scale * a[start + i]); });
  }
}

// p = a I + b g + c p
template <class T>
__global__ void __launch_bounds__(kThreads)
    frechet_quintic_kernel(const Cut cut, const Quintic quintic, const T* g, const double* squares,
                           T* p, unsigned n) {
  for (int64_t block = blockIdx.x; block < cut.matrices * cut.parts; block += gridDim.x) {
    const int64_t matrix = block / cut.parts, start = matrix * cut.size;
    const Quintic q = scaled(quintic, squares == nullptr ? nullptr : squares + matrix);
    const T a = static_cast<T>(q.a), b = static_cast<T>(q.b), c = static_cast<T>(q.c);
    const T *g_end = g + start + cut.size, *p_end = p + start + cut.size;
    for_each_pack_of<Pack<T>::size>(cut, static_cast<int>(block % cut.parts), [&](int64_t i) {
      const Pack<T> gs = load_pack(g + start + i, g_end, cut.whole);
      Pack<T> ps = load_pack<T>(p + start + i, p_end, cut.whole);
      GANFAST_UNROLL
      for (int j = 0; j < Pack<T>::size; ++j) {
        const bool diagonal = static_cast<unsigned>(i + j) % (n + 1) == 0;
        ps.values[j] = b * gs.values[j] + c * ps.values[j] + (diagonal ? a : T(0));
      }
      store_pack(ps, p + start + i, p_end, cut.whole);
    });
  }
}

}  // namespace

void frechet_pair_sums(PairSum sum, DType dtype, const void* x, const void* y, int64_t matrices,
                       int64_t size, double* sums, const Workspace& workspace) {
  const auto stream = static_cast<cudaStream_t>(workspace.stream);
  with_pair_sum(sum, dtype, [&]<class F, class T>() {
    const Cut cuts = cut<T>(matrices, size, {x, y});
    double* const partial = workspace.doubles(matrices * cuts.parts);
    launch("frechet_pair_sums", frechet_pair_sums_kernel<F, T>,
           static_cast<int>(matrices * cuts.parts), kThreads, stream, cuts,
           static_cast<const T*>(x), static_cast<const T*>(y), partial);
    launch("frechet_total", frechet_total_kernel, static_cast<int>(matrices), kThreads, stream,
           partial, cuts.parts, sums);
  });
}

void frechet_scaled_cast(DType dtype, const double* a, const double* squares, void* x,
                         int64_t matrices, int64_t size, const Workspace& workspace) {
  with_width(dtype, [&]<class T>() {
    const Cut cuts = cut<T>(matrices, size, {x});
    launch("frechet_scaled_cast", frechet_scaled_cast_kernel<T>, blocks_of(cuts), kThreads,
           static_cast<cudaStream_t>(workspace.stream), cuts, a, squares, static_cast<T*>(x));
  });
}

void frechet_quintic(DType dtype, const Quintic& quintic, const void* g, const double* squares,
                     void* p, int64_t matrices, int64_t n, const Workspace& workspace) {
  with_width(dtype, [&]<class T>() {
    const Cut cuts = cut<T>(matrices, n * n, {g, p});
    launch("frechet_quintic", frechet_quintic_kernel<T>, blocks_of(cuts), kThreads,
           static_cast<cudaStream_t>(workspace.stream), cuts, quintic, static_cast<const T*>(g),
           squares, static_cast<T*>(p), static_cast<unsigned>(n));
  });
}

}  // namespace ganfast::cuda
