// CUDA's execution model on the CPU, so that the kernels run, and sanitizers watch them, where
// there is no GPU.
//
// Each CUDA thread of a block is a std::thread, so a missing barrier is a data race and an index
// out of bounds is an access out of bounds. Blocks run one after the other. What the kernels do not
// use is not here.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "../../csrc/math/scalar.h"

// Loops of kernels need not be unrolled here, and compile in a fraction of the time.
#undef GANFAST_UNROLL
#define GANFAST_UNROLL

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

// Shared by the threads of a block, as blocks run one after the other.
#define GANFAST_SHARED(type, name, count) static type name[count]

using cudaStream_t = struct Stream*;

struct __attribute__((aligned(16), may_alias)) uint4 {
  unsigned x, y, z, w;
};
inline void __stwb(uint4* to, uint4 value) {
  *to = value;
}

struct Index {
  unsigned x = 0;
};
inline thread_local Index threadIdx, blockIdx, gridDim;

namespace simt {

constexpr int kLanes = 32;

// std::barrier would spin, with hundreds of threads on a few cores.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}

  void wait() {
    std::unique_lock lock(mutex_);
    if (++arrived_ >= threads_) return open();
    opened_.wait(lock, [this, round = round_] { return round != round_; });
  }

  // The calling thread will not come again.
  void leave() {
    std::lock_guard lock(mutex_);
    if (arrived_ == --threads_) open();
  }

 private:
  void open() {
    arrived_ = 0;
    ++round_;
    opened_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable opened_;
  int threads_, arrived_ = 0;
  int64_t round_ = 0;
};

struct Warp {
  Barrier barrier{kLanes};
  std::array<uint64_t, kLanes> slots{};
};

struct Block {
  explicit Block(int threads) : barrier(threads), warps(threads / kLanes) {}
  Barrier barrier;
  std::vector<Warp> warps;
};

inline thread_local Block* block = nullptr;

}  // namespace simt

#ifndef GANFAST_PLANT_MISSING_BARRIER
inline void __syncthreads() {
  simt::block->barrier.wait();
}
#else
inline void __syncthreads() {}
#endif

// The value of the lane `delta` further on, or the lane's own past the end of the warp.
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned delta) {
  simt::Warp& warp = simt::block->warps[threadIdx.x / simt::kLanes];
  const unsigned lane = threadIdx.x % simt::kLanes;
  std::memcpy(&warp.slots[lane], &value, sizeof(T));
  warp.barrier.wait();
  if (lane + delta < simt::kLanes) std::memcpy(&value, &warp.slots[lane + delta], sizeof(T));
  warp.barrier.wait();
  return value;
}

namespace ganfast {

template <class... Parameters>
void launch(const char*, void (*kernel)(Parameters...), int grid, int threads, cudaStream_t,
            const std::type_identity_t<Parameters>&... arguments) {
  std::deque<simt::Block> blocks;
  for (int b = 0; b < grid; ++b) blocks.emplace_back(threads);
  simt::Barrier between(threads);  // blocks share their static memory
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      for (int b = 0; b < grid; ++b) {
        simt::block = &blocks[b];
        threadIdx.x = t;
        blockIdx.x = b;
        gridDim.x = grid;
        kernel(arguments...);
        blocks[b].warps[t / simt::kLanes].barrier.leave();
        blocks[b].barrier.leave();  // a thread that has returned holds no barrier up
        between.wait();
      }
    });
  }
  for (std::thread& thread : running) thread.join();
}

}  // namespace ganfast
