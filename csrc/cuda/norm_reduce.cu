// L = weight * mean_b phi(sum_j g_bj^2) and its two derivatives on CUDA.
//
// Samples: the elements of a sample are cut into tiles, and `splits` blocks share them. Each leaves
// one double, and a second launch of one block adds them up, which gives phi and its derivatives.
// Pixels: a thread has a position to itself and walks over its channels.
#include "../ops/norm_reduce.h"

#include "table.cuh"

namespace ganfast::cuda {
namespace {

template <class T>
struct NormRow {
  const T* g;    // (outer, size, inner)
  const T* v;    // the same
  T* dg;         // the same
  int64_t size;  // elements that are summed for each position
  bool whole;    // 16-byte accesses are allowed from the start of each sample
};

template <class T>
struct NormRows {
  NormRow<T> rows[kMaxNormTerms];
  int count;
  int64_t outer, inner;
  int splits;  // blocks of a sample
};

// Calls body(row, from, end) for the start and end of each pack of T that this thread has: elements
// of the sample blockIdx.x / splits, as offsets into the row's tensors.
template <class T, class Body>
__device__ void for_each_pack_of_sample(const NormRows<T>& list, Body body) {
  const int64_t sample = blockIdx.x / list.splits;
  for (int k = 0; k < list.count; ++k) {
    const NormRow<T>& row = list.rows[k];
    const int64_t begin = sample * row.size, end = begin + row.size;
    const int64_t step = int64_t(list.splits) * kThreads * Pack<T>::size;
    int64_t from =
        begin + (int64_t(blockIdx.x % list.splits) * kThreads + threadIdx.x) * Pack<T>::size;
    for (; from < end; from += step) body(row, from, end);
  }
}

// partial[sample, split] = sum of g x over the split's elements, with x = g or v
template <bool kWithV, class T>
__global__ void __launch_bounds__(kThreads)
    norm_reduce_sums_kernel(const __grid_constant__ NormRows<T> list, double* partial) {
  double sum = 0;
  for_each_pack_of_sample(list, [&](const NormRow<T>& row, int64_t from, int64_t end) {
    const Pack<T> g = load_pack(row.g + from, row.g + end, row.whole);
    const Pack<T> x = kWithV ? load_pack(row.v + from, row.v + end, row.whole) : g;
    Compute<T> part = 0;
    GANFAST_UNROLL
    for (int j = 0; j < Pack<T>::size; ++j) part += load(g.values[j]) * load(x.values[j]);
    sum += part;
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// Leaves the sum of each sample's partials in its first one. The warps of the block take turns with
// the samples.
__device__ inline void sum_splits(double* partial, int64_t samples, int splits) {
  for (int64_t b = threadIdx.x / kWarp; b < samples; b += kThreads / kWarp) {
    double sum = 0;
    for (int split = threadIdx.x % kWarp; split < splits; split += kWarp)
      sum += partial[b * splits + split];
    sum = warp_sum(sum);  // after which all have read
    if (threadIdx.x % kWarp == 0) partial[b * splits] = sum;
  }
  __syncthreads();
}

// loss = weight sum_b phi(s_b) with the two derivatives. One block.
template <class F, class Result>
__global__ void __launch_bounds__(kThreads)
    norm_reduce_finish_kernel(double* partial, int64_t samples, int splits, double weight,
                              F functor, Result* loss, Result* derivatives) {
  sum_splits(partial, samples, splits);
  double sum = 0;
  for (int64_t b = threadIdx.x; b < samples; b += kThreads) {
    const Orders<double> phi = functor(partial[b * splits]);
    sum += phi.f;
    derivatives[b] = static_cast<Result>(weight * phi.df);
    derivatives[samples + b] = static_cast<Result>(weight * phi.d2f);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) *loss = static_cast<Result>(weight * sum);
}

// loss = weight max_b s_b; the derivative is shared by all that are largest. One block.
template <class Result>
__global__ void __launch_bounds__(kThreads)
    norm_reduce_maximum_kernel(double* partial, int64_t samples, int splits, double weight,
                               Result* loss, Result* derivatives) {
  sum_splits(partial, samples, splits);
  double largest = partial[0];
  for (int64_t b = 1; b < samples; ++b) {
    const double s = partial[b * splits];
    if (s > largest || s != s) largest = s;
  }
  int64_t count = 0;
  for (int64_t b = 0; b < samples; ++b) count += partial[b * splits] == largest;
  for (int64_t b = threadIdx.x; b < samples; b += kThreads) {
    derivatives[b] =
        partial[b * splits] == largest ? static_cast<Result>(weight / count) : Result(0);
    derivatives[samples + b] = Result(0);
  }
  if (threadIdx.x == 0) *loss = static_cast<Result>(weight * largest);
}

// dg = 2 grad loss' g
template <class T>
__global__ void __launch_bounds__(kThreads)
    norm_reduce_backward_kernel(const __grid_constant__ NormRows<T> list, const Compute<T>* grad,
                                const Compute<T>* derivatives) {
  const Compute<T> scale = 2 * *grad * derivatives[blockIdx.x / list.splits];
  for_each_pack_of_sample(list, [&](const NormRow<T>& row, int64_t from, int64_t end) {
    const Pack<T> g = load_pack(row.g + from, row.g + end, row.whole);
    Pack<T> dg;
    GANFAST_UNROLL
    for (int j = 0; j < Pack<T>::size; ++j) store(dg.values[j], scale * load(g.values[j]));
    store_pack(dg, row.dg + from, row.dg + end, row.whole);
  });
}

// dg = 2 grad (loss' v + 2 loss'' t g), with t the sum of the sample's partials
template <class T>
__global__ void __launch_bounds__(kThreads)
    norm_reduce_double_backward_kernel(const __grid_constant__ NormRows<T> list,
                                       const Compute<T>* grad, const Compute<T>* derivatives,
                                       const double* partial) {
  const int64_t sample = blockIdx.x / list.splits;
  const double t = sum_for_all(partial + sample * list.splits, list.splits);
  const Compute<T> p = 2 * *grad * derivatives[sample];
  const auto q = static_cast<Compute<T>>(4 * *grad * derivatives[list.outer + sample] * t);
  for_each_pack_of_sample(list, [&](const NormRow<T>& row, int64_t from, int64_t end) {
    const Pack<T> g = load_pack(row.g + from, row.g + end, row.whole);
    const Pack<T> v = load_pack(row.v + from, row.v + end, row.whole);
    Pack<T> dg;
    GANFAST_UNROLL
    for (int j = 0; j < Pack<T>::size; ++j)
      store(dg.values[j], p * load(v.values[j]) + q * load(g.values[j]));
    store_pack(dg, row.dg + from, row.dg + end, row.whole);
  });
}

// dgrad = 2 sum_b loss'_b t_b. One block.
template <class Result>
__global__ void __launch_bounds__(kThreads)
    norm_reduce_dgrad_kernel(const double* partial, int64_t samples, int splits,
                             const Result* derivatives, Result* dgrad) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < samples * splits; i += kThreads)
    sum += 2 * derivatives[i / splits] * partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *dgrad = static_cast<Result>(sum);
}

// A pixel: its position among all, its sample and its place there.
struct Pixel {
  int64_t position, outer, inner;
};

// Calls body(pixel) for the pixels of this thread. A block takes runs of neighbours.
template <class T, class Body>
__device__ void for_each_pixel(const NormRows<T>& list, Body body) {
  const int runs = static_cast<int>((list.inner + kThreads - 1) / kThreads);
  const int total = static_cast<int>(list.outer) * runs;
  for (int run = blockIdx.x; run < total; run += gridDim.x) {
    const int outer = run / runs;
    const int64_t inner = int64_t(run - outer * runs) * kThreads + threadIdx.x;
    if (inner < list.inner) body(Pixel{outer * list.inner + inner, outer, inner});
  }
}

// Calls body(row, offset) for each channel of a pixel.
template <class T, class Body>
__device__ void for_each_channel(const NormRows<T>& list, const Pixel& pixel, Body body) {
  for (int k = 0; k < list.count; ++k) {
    const NormRow<T>& row = list.rows[k];
    int64_t offset = pixel.outer * row.size * list.inner + pixel.inner;
    const int64_t end = offset + row.size * list.inner;
    for (; offset < end; offset += list.inner) body(row, offset);
  }
}

template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    norm_reduce_pixels_kernel(const __grid_constant__ NormRows<T> list, double weight, F functor,
                              double* partial, Compute<T>* loss, Compute<T>* derivatives) {
  const int64_t positions = list.outer * list.inner;
  double sum = 0;
  for_each_pixel(list, [&](const Pixel& pixel) {
    Compute<T> s = 0;
    for_each_channel(list, pixel, [&](const NormRow<T>& row, int64_t offset) {
      const Compute<T> g = load(row.g[offset]);
      s += g * g;
    });
    const Orders<Compute<T>> phi = functor(s);
    sum += weight * phi.f;
    derivatives[pixel.position] = static_cast<Compute<T>>(weight * phi.df);
    derivatives[positions + pixel.position] = static_cast<Compute<T>>(weight * phi.d2f);
  });
  finish_sum(sum, partial, loss);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    norm_reduce_pixels_backward_kernel(const __grid_constant__ NormRows<T> list,
                                       const Compute<T>* grad, const Compute<T>* derivatives) {
  const Compute<T> outer = 2 * *grad;
  for_each_pixel(list, [&](const Pixel& pixel) {
    const Compute<T> scale = outer * derivatives[pixel.position];
    for_each_channel(list, pixel, [&](const NormRow<T>& row, int64_t offset) {
      store(row.dg[offset], scale * load(row.g[offset]));
    });
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    norm_reduce_pixels_double_backward_kernel(const __grid_constant__ NormRows<T> list,
                                              const Compute<T>* grad, const Compute<T>* derivatives,
                                              double* partial, Compute<T>* dgrad) {
  const int64_t positions = list.outer * list.inner;
  const Compute<T> outer = 2 * *grad;
  double sum = 0;
  for_each_pixel(list, [&](const Pixel& pixel) {
    Compute<T> t = 0;
    for_each_channel(list, pixel, [&](const NormRow<T>& row, int64_t offset) {
      t += load(row.g[offset]) * load(row.v[offset]);
    });
    const Compute<T> p = derivatives[pixel.position],
                     q = 2 * derivatives[positions + pixel.position] * t;
    sum += 2 * p * t;
    for_each_channel(list, pixel, [&](const NormRow<T>& row, int64_t offset) {
      store(row.dg[offset], outer * (p * load(row.v[offset]) + q * load(row.g[offset])));
    });
  });
  finish_sum(sum, partial, dgrad);
}

// Blocks that share a sample: as many as have work, and with all samples no more than fill the
// largest GPUs.
int splits_of(NormShape shape, std::span<const NormTerm> terms) {
  int64_t elements = 0;
  for (const NormTerm& term : terms) elements += term.size;
  const int64_t tiles = (elements + kTile - 1) / kTile;
  return std::max<int64_t>(1, std::min(tiles, kSharingBlocks / shape.outer));
}

int blocks_of_pixels(NormShape shape) {
  return std::min<int64_t>(shape.outer * ((shape.inner + kThreads - 1) / kThreads), kSharingBlocks);
}

template <class T>
NormRows<T> make_rows(NormShape shape, std::span<const NormTerm> terms) {
  NormRows<T> list{};
  for (const NormTerm& term : terms) {
    const T* g = static_cast<const T*>(term.g);
    const T* v = static_cast<const T*>(term.v);
    T* dg = static_cast<T*>(term.dg);
    const bool whole = aligned(g) && aligned(v) && aligned(dg) && term.size % Pack<T>::size == 0;
    list.rows[list.count++] = {g, v, dg, term.size, whole};
  }
  list.outer = shape.outer;
  list.inner = shape.inner;
  list.splits = splits_of(shape, terms);
  return list;
}

template <class Result>
void sum_of_pixels(double* partial, int blocks, Result* result, cudaStream_t stream) {
  if (blocks == 1) return;  // written by the block that is alone
  launch("sum_partials", sum_partials<Result>, 1, kThreads, stream, partial, blocks, result);
}

}  // namespace

int64_t norm_reduce_scratch(NormShape shape, std::span<const NormTerm> terms) {
  return shape.pixel ? blocks_of_pixels(shape) : shape.outer * splits_of(shape, terms);
}

void norm_reduce_forward(NormPhi phi, DType dtype, NormShape shape, std::span<const NormTerm> terms,
                         void* loss_, void* derivatives_, double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  const double weight = phi.weight / shape.positions();
  with_dtype(dtype, [&]<class T>() {
    using Result = Compute<T>;
    const NormRows<T> list = make_rows<T>(shape, terms);
    const auto loss = static_cast<Result*>(loss_);
    const auto derivatives = static_cast<Result*>(derivatives_);
    if (shape.pixel) {
      const int blocks = blocks_of_pixels(shape);
      with_functor(phi.functor, [&]<template <class> class F>() {
        const F<Result> functor{static_cast<Result>(phi.a), static_cast<Result>(phi.b)};
        launch("norm_reduce_pixels", norm_reduce_pixels_kernel<F<Result>, T>, blocks, kThreads,
               stream, list, weight, functor, scratch, blocks == 1 ? loss : nullptr, derivatives);
      });
      sum_of_pixels(scratch, blocks, loss, stream);
      return;
    }
    const int blocks = shape.outer * list.splits;
    launch("norm_reduce_sums", norm_reduce_sums_kernel<false, T>, blocks, kThreads, stream, list,
           scratch);
    if (phi.functor == NormFunctor::maximum) {
      launch("norm_reduce_maximum", norm_reduce_maximum_kernel<Result>, 1, kThreads, stream,
             scratch, shape.outer, list.splits, phi.weight, loss, derivatives);
      return;
    }
    with_functor(phi.functor, [&]<template <class> class F>() {
      launch("norm_reduce_finish", norm_reduce_finish_kernel<F<double>, Result>, 1, kThreads,
             stream, scratch, shape.outer, list.splits, weight, F<double>{phi.a, phi.b}, loss,
             derivatives);
    });
  });
}

void norm_reduce_backward(DType dtype, NormShape shape, std::span<const NormTerm> terms,
                          const void* grad_, const void* derivatives_, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_dtype(dtype, [&]<class T>() {
    const NormRows<T> list = make_rows<T>(shape, terms);
    const auto grad = static_cast<const Compute<T>*>(grad_);
    const auto derivatives = static_cast<const Compute<T>*>(derivatives_);
    if (shape.pixel) {
      launch("norm_reduce_pixels_backward", norm_reduce_pixels_backward_kernel<T>,
             blocks_of_pixels(shape), kThreads, stream, list, grad, derivatives);
    } else {
      launch("norm_reduce_backward", norm_reduce_backward_kernel<T>,
             static_cast<int>(shape.outer * list.splits), kThreads, stream, list, grad,
             derivatives);
    }
  });
}

void norm_reduce_double_backward(DType dtype, NormShape shape, std::span<const NormTerm> terms,
                                 const void* grad_, const void* derivatives_, void* dgrad_,
                                 double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_dtype(dtype, [&]<class T>() {
    using Result = Compute<T>;
    const NormRows<T> list = make_rows<T>(shape, terms);
    const auto grad = static_cast<const Result*>(grad_);
    const auto derivatives = static_cast<const Result*>(derivatives_);
    const auto dgrad = static_cast<Result*>(dgrad_);
    if (shape.pixel) {
      const int blocks = blocks_of_pixels(shape);
      launch("norm_reduce_pixels_double_backward", norm_reduce_pixels_double_backward_kernel<T>,
             blocks, kThreads, stream, list, grad, derivatives, scratch,
             blocks == 1 ? dgrad : nullptr);
      sum_of_pixels(scratch, blocks, dgrad, stream);
      return;
    }
    const int blocks = shape.outer * list.splits;
    launch("norm_reduce_sums", norm_reduce_sums_kernel<true, T>, blocks, kThreads, stream, list,
           scratch);
    launch("norm_reduce_double_backward", norm_reduce_double_backward_kernel<T>, blocks, kThreads,
           stream, list, grad, derivatives, scratch);
    launch("norm_reduce_dgrad", norm_reduce_dgrad_kernel<Result>, 1, kThreads, stream, scratch,
           shape.outer, list.splits, derivatives, dgrad);
  });
}

}  // namespace ganfast::cuda
