// bias_act and its derivatives on CUDA.
//
// Without sums, a thread takes elements a block apart. With sums, `splits` blocks share a channel,
// or where channels are side by side, as many channels as a warp has lanes; each leaves what it has
// summed, and a second launch adds that up.
#include "../ops/bias_act.h"

#include <algorithm>

#include "reduce.cuh"

namespace ganfast::cuda {
namespace {

constexpr int kEach = 4;  // elements of a thread, where there are no sums
constexpr int kWarps = kThreads / kWarp;

// b and c by channel, or null.
template <class T, class Body>
struct BiasActCall {
  Body body;
  BiasActShape shape;
  const T *b, *c;
  int splits;

  __device__ Compute<T> run(int64_t i, int64_t channel) const {
    const Compute<T> zero = 0;
    return body.at(i, b != nullptr ? load(b[channel]) : zero,
                   c != nullptr ? load(c[channel]) : zero);
  }
};

// a / b, in 32 bits where that is enough
__device__ inline int64_t divided(int64_t a, int64_t b) {
  return (a | b) >> 32 ? a / b : static_cast<unsigned>(a) / static_cast<unsigned>(b);
}

template <class T, class Body>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    bias_act_kernel(const __grid_constant__ BiasActCall<T, Body> call) {
  const BiasActShape& shape = call.shape;
  const int64_t n = shape.elements(), step = int64_t(gridDim.x) * kThreads * kEach;
  for (int64_t begin = int64_t(blockIdx.x) * kThreads * kEach; begin < n; begin += step) {
    // One division in 64 bits for the block, and shorter ones for each element.
    const int64_t plane = begin / shape.inner, offset = begin - plane * shape.inner;
    const int64_t channel = plane % shape.channels;
    GANFAST_UNROLL
    for (int k = 0; k < kEach; ++k) {
      const int64_t ahead = k * kThreads + threadIdx.x;
      if (begin + ahead >= n) break;
      const int64_t planes = divided(offset + ahead, shape.inner), of = channel + planes;
      call.run(begin + ahead, of - divided(of, shape.channels) * shape.channels);
    }
  }
}

// partial[channel * splits + split] = the sum of a share of the channel's planes
template <class T, class Body>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    bias_act_planes_kernel(const __grid_constant__ BiasActCall<T, Body> call, double* partial) {
  const BiasActShape& shape = call.shape;
  const int64_t channel = blockIdx.x / call.splits, split = blockIdx.x % call.splits;
  const int64_t n = shape.outer * shape.inner, step = int64_t(call.splits) * kThreads;
  const int64_t planes_step = step / shape.inner, inside_step = step - planes_step * shape.inner;
  const int64_t first = split * kThreads + threadIdx.x;
  int64_t plane = first / shape.inner, inside = first - plane * shape.inner;
  Compute<T> sum = 0;
  for (int64_t i = first; i < n; i += step) {
    sum += call.run((plane * shape.channels + channel) * shape.inner + inside, channel);
    plane += planes_step;
    inside += inside_step;
    if (inside >= shape.inner) {
      inside -= shape.inner;
      ++plane;
    }
  }
  const double total = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

// The same for channels side by side: a lane for each, and a row of them for each warp at a time
template <class T, class Body>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    bias_act_rows_kernel(const __grid_constant__ BiasActCall<T, Body> call, double* partial) {
  GANFAST_SHARED(double, sums, kThreads);
  const BiasActShape& shape = call.shape;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t split = blockIdx.x % call.splits;
  const int64_t channel = int64_t(blockIdx.x / call.splits) * kWarp + lane;
  Compute<T> sum = 0;
  if (channel < shape.channels) {
    for (int64_t row = split * kWarps + warp; row < shape.outer; row += call.splits * kWarps)
      sum += call.run(row * shape.channels + channel, channel);
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (warp > 0 || channel >= shape.channels) return;
  double total = 0;
  for (int w = 0; w < kWarps; ++w) total += sums[w * kWarp + lane];
  partial[channel * call.splits + split] = total;
}

// A block for each channel.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    bias_act_sums_kernel(const double* partial, int splits, T* of_channels) {
  double sum = 0;
  const double* of_channel = partial + int64_t(blockIdx.x) * splits;
  for (int i = threadIdx.x; i < splits; i += kThreads) sum += of_channel[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) store(of_channels[blockIdx.x], static_cast<Compute<T>>(sum));
}

template <class T, class Body>
void run(const Body& body, BiasActShape shape, const void* b, const void* c, void* of_channels,
         const Workspace& workspace) {
  const auto stream = static_cast<cudaStream_t>(workspace.stream);
  BiasActCall<T, Body> call{body, shape, static_cast<const T*>(b), static_cast<const T*>(c), 1};
  if constexpr (Body::kSums) {
    if (of_channels != nullptr) {
      const bool rows = shape.inner == 1 && shape.channels > 1;
      const int64_t groups = rows ? (shape.channels + kWarp - 1) / kWarp : shape.channels;
      const int64_t each = rows ? shape.outer / kWarps : shape.outer * shape.inner / kThreads;
      call.splits = static_cast<int>(
          std::max<int64_t>(1, std::min({each / kEach, kSharingBlocks / groups, int64_t(256)})));
      double* const partial = workspace.doubles(shape.channels * call.splits);
      const int blocks = static_cast<int>(groups * call.splits);
      if (rows) {
        launch("bias_act_rows", bias_act_rows_kernel<T, Body>, blocks, kThreads, stream, call,
               partial);
      } else {
        launch("bias_act_planes", bias_act_planes_kernel<T, Body>, blocks, kThreads, stream, call,
               partial);
      }
      launch("bias_act_sums", bias_act_sums_kernel<T>, static_cast<int>(shape.channels), kThreads,
             stream, partial, call.splits, static_cast<T*>(of_channels));
      return;
    }
  }
  const int64_t blocks = (shape.elements() + kThreads * kEach - 1) / (kThreads * kEach);
  launch("bias_act", bias_act_kernel<T, Body>,
         static_cast<int>(std::min<int64_t>(blocks, int64_t(1) << 20)), kThreads, stream, call);
}

}  // namespace

void bias_act(const BiasActParameters& parameters, DType dtype, BiasActShape shape,
              const BiasActPass& pass, const Workspace& workspace) {
  with_pass(parameters, dtype, pass, [&]<class T>(const auto& body) {
    run<T>(body, shape, pass.b, pass.c, pass.sums, workspace);
  });
}

}  // namespace ganfast::cuda
