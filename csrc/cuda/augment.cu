// Augmentations of samples, their linear parts and the adjoints of these on CUDA.
//
// `splits` blocks share a sample; a thread takes a pixel with all its channels. Where colors
// change, a first launch leaves a sum from each block, and the second adds up those of its sample.
#include "../ops/augment.h"

#include <algorithm>

#include "reduce.cuh"

namespace ganfast::cuda {
namespace {

template <class T>
struct AugmentCall {
  AugmentMap map;
  AugmentPieces pieces;
  AugmentShape shape;
  const float* u;
  const T* x;
  T* y;
  int splits;

  __device__ int64_t sample() const { return blockIdx.x / splits; }

  __device__ Augmentation<Compute<T>> augmentation() const {
    return augmentation_of<Compute<T>>(map, pieces, u + sample() * shape.draws, shape.draws,
                                       shape.height, shape.width);
  }

  // Distances in memory of neighbouring pixels and of neighbouring channels.
  __device__ int pixel_step() const { return shape.interleaved ? shape.channels : 1; }
  __device__ int channel_step() const { return shape.interleaved ? 1 : shape.height * shape.width; }

  // Calls body(pixel, h, w) for the pixels of this thread.
  template <class Body>
  __device__ void for_each_pixel(Body body) const {
    const unsigned pixels = shape.height * shape.width, step = splits * kThreads;
    unsigned pixel = blockIdx.x % splits * kThreads + threadIdx.x;
    for (; pixel < pixels; pixel += step) {
      const int h = pixel / shape.width;
      body(static_cast<int>(pixel), h, static_cast<int>(pixel - h * shape.width));
    }
  }

  // Does a pixel of y have a source, and is it not cut out?
  __device__ bool live(const Augmentation<Compute<T>>& s, int h, int w) const {
    const int from_h = h + s.shift_h, from_w = w + s.shift_w;
    return from_h >= 0 && from_h < shape.height && from_w >= 0 && from_w < shape.width &&
           !(s.top <= h && h < s.bottom && s.left <= w && w < s.right);
  }

  // The sum over the channels of a pixel.
  __device__ Compute<T> channel_sum(const T* of_pixel) const {
    Compute<T> sum = 0;
    const int step = channel_step();
    for (int c = 0; c < shape.channels; ++c) sum += load(of_pixel[c * step]);
    return sum;
  }
};

// partial[block] = the sum of what the block's pixels are mixed from: of x for the map, of what is
// live for the adjoint
template <class T>
__global__ void __launch_bounds__(kThreads)
    augment_sums_kernel(const __grid_constant__ AugmentCall<T> call, double* partial) {
  const auto s = call.augmentation();
  const T* x = call.x + call.sample() * call.shape.elements();
  double sum = 0;
  if (s.mixes) {
    const bool adjoint = call.map == AugmentMap::adjoint;
    const int shift = adjoint ? s.shift_h * call.shape.width + s.shift_w : 0;
    call.for_each_pixel([&](int pixel, int h, int w) {
      if (!adjoint || call.live(s, h, w))
        sum += call.channel_sum(x + (pixel + shift) * call.pixel_step());
    });
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    augment_kernel(const __grid_constant__ AugmentCall<T> call, const double* partial) {
  using C = Compute<T>;
  const AugmentShape& shape = call.shape;
  double mean = 0;
  if (call.pieces.color) {
    const double* of_sample = partial + call.sample() * call.splits;
    mean = sum_for_all(of_sample, call.splits) / shape.elements();
  }
  const auto s = call.augmentation();
  const C of_sample = s.mixes ? static_cast<C>(s.c * mean) : C(0);
  const C constant = of_sample + s.d, b = s.b / shape.channels;
  const C outside = call.map == AugmentMap::adjoint ? of_sample : C(0);
  const int step = call.channel_step();
  const int shift = s.shift_h * shape.width + s.shift_w;
  const T* x = call.x + call.sample() * shape.elements();
  T* y = call.y + call.sample() * shape.elements();
  call.for_each_pixel([&](int pixel, int h, int w) {
    T* to = y + pixel * call.pixel_step();
    if (!call.live(s, h, w)) {
      for (int c = 0; c < shape.channels; ++c) store(to[c * step], outside);
      return;
    }
    const T* from = x + (pixel + shift) * call.pixel_step();
    const C rest = s.mixes ? b * call.channel_sum(from) + constant : C(0);
    for (int c = 0; c < shape.channels; ++c) store(to[c * step], s.a * load(from[c * step]) + rest);
  });
}

int splits_of(AugmentShape shape) {
  const int64_t most = (shape.pixels() + kThreads - 1) / kThreads;
  return static_cast<int>(std::max<int64_t>(1, std::min(most, kSharingBlocks / shape.samples)));
}

}  // namespace

void augment(AugmentMap map, AugmentPieces pieces, DType dtype, AugmentShape shape, const float* u,
             const void* x, void* y, const Workspace& workspace) {
  const auto stream = static_cast<cudaStream_t>(workspace.stream);
  with_dtype(dtype, [&]<class T>() {
    const AugmentCall<T> call{
        map, pieces, shape, u, static_cast<const T*>(x), static_cast<T*>(y), splits_of(shape)};
    const int blocks = static_cast<int>(shape.samples * call.splits);
    double* const sums = workspace.doubles(pieces.color ? blocks : 0);
    if (pieces.color) {
      launch("augment_sums", augment_sums_kernel<T>, blocks, kThreads, stream, call, sums);
    }
    launch("augment", augment_kernel<T>, blocks, kThreads, stream, call, sums);
  });
}

}  // namespace ganfast::cuda
