// L = sum_k w_k * mean_i f(x_ki) and its two derivatives on CUDA: one launch for the whole list of
// tensors.
//
// The tensors are cut into tiles; a block takes every gridDim.x-th tile. The table of tensors
// travels as a kernel parameter, so that a CUDA graph keeps it. Sums go through one double per
// block, added up by a second launch; lists of a few tiles run in one block and need no second
// launch.
#include "../ops/unary_reduce.h"

#include <algorithm>

#include "pack.cuh"
#include "reduce.cuh"

namespace ganfast::cuda {
namespace {

constexpr int kMaxTerms =
    200;  // of one launch: the table must fit into 32 KiB of kernel parameters
constexpr int kMaxBlocks =
    1024;  // fills the largest GPUs; fixed, so that sums do not depend on the GPU
constexpr int kMaxTilesOfOneBlock = 16;
constexpr int kElements = 16;  // of a tile, for each thread
constexpr int64_t kTile = kThreads * kElements;

template <class T>
struct Table {
  int count;
  struct Row {
    const T* x;  // (n)
    const T* v;  // (n)
    T* dx;       // (n)
    int64_t n;
    int64_t first_tile;  // of all tiles of this launch
    double weight;
    Compute<T> a, b;
    bool whole;  // all pointers allow 16-byte accesses
  } rows[kMaxTerms];
  int64_t tiles;

  // The row that a tile belongs to.
  __device__ const Row& row(int64_t tile) const {
    int low = 0;
    for (int high = count; high - low > 1;) {
      const int middle = (low + high) / 2;
      (rows[middle].first_tile <= tile ? low : high) = middle;
    }
    return rows[low];
  }
};

// The part of a row that this thread has of a tile: calls body(offset) for the start of each of its
// packs.
template <class T, class Row, class Body>
__device__ void for_each_pack(const Row& row, int64_t tile, Body body) {
  const int64_t begin = (tile - row.first_tile) * kTile;
  GANFAST_UNROLL
  for (int i = 0; i < kElements / Pack<T>::size; ++i) {
    const int64_t offset = begin + (int64_t(i) * kThreads + threadIdx.x) * Pack<T>::size;
    if (offset < row.n) body(offset);
  }
}

// Writes the block's sum to its partial, or as the result where the block is alone.
template <class Result>
__device__ void finish_sum(double sum, double* partial, Result* result) {
  sum = block_sum(sum);
  if (threadIdx.x > 0) return;
  if (result != nullptr) {
    *result = static_cast<Result>(sum);
  } else {
    partial[blockIdx.x] = sum;
  }
}

// loss = sum_k weight_k sum_i f(x_ki)
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    unary_reduce_forward_kernel(const __grid_constant__ Table<T> table, double* partial,
                                Compute<T>* loss) {
  double sum = 0;
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const F functor{row.a, row.b};
    Compute<T> part = 0;
    for_each_pack<T>(row, tile, [&](int64_t offset) {
      const Pack<T> x = load_pack(row.x + offset, row.x + row.n, row.whole);
      GANFAST_UNROLL
      for (int j = 0; j < Pack<T>::size; ++j) {
        if (offset + j < row.n) part += functor.f(load(x.values[j]));
      }
    });
    sum += row.weight * part;
  }
  finish_sum(sum, partial, loss);
}

// dx_ki = grad weight_k f'(x_ki)
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    unary_reduce_backward_kernel(const __grid_constant__ Table<T> table, const Compute<T>* grad) {
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const F functor{row.a, row.b};
    const auto scale = static_cast<Compute<T>>(*grad * row.weight);
    for_each_pack<T>(row, tile, [&](int64_t offset) {
      const Pack<T> x = load_pack(row.x + offset, row.x + row.n, row.whole);
      Pack<T> dx;
      GANFAST_UNROLL
      for (int j = 0; j < Pack<T>::size; ++j)
        store(dx.values[j], scale * functor.df(load(x.values[j])));
      store_pack(dx, row.dx + offset, row.dx + row.n, row.whole);
    });
  }
}

// dgrad = sum_k weight_k sum_i v_ki f'(x_ki),  dx_ki = grad weight_k v_ki f''(x_ki)
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    unary_reduce_double_backward_kernel(const __grid_constant__ Table<T> table,
                                        const Compute<T>* grad, double* partial,
                                        Compute<T>* dgrad) {
  double sum = 0;
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const F functor{row.a, row.b};
    const auto scale = static_cast<Compute<T>>(*grad * row.weight);
    Compute<T> part = 0;
    for_each_pack<T>(row, tile, [&](int64_t offset) {
      const Pack<T> x = load_pack(row.x + offset, row.x + row.n, row.whole);
      const Pack<T> v = load_pack(row.v + offset, row.v + row.n, row.whole);
      Pack<T> dx;
      GANFAST_UNROLL
      for (int j = 0; j < Pack<T>::size; ++j) {
        const Compute<T> xj = load(x.values[j]), vj = load(v.values[j]);
        store(dx.values[j], scale * vj * functor.d2f(xj));
        if (offset + j < row.n) part += vj * functor.df(xj);
      }
      store_pack(dx, row.dx + offset, row.dx + row.n, row.whole);
    });
    sum += row.weight * part;
  }
  finish_sum(sum, partial, dgrad);
}

int64_t tiles_of(const UnaryTerm& term) {
  return (term.n + kTile - 1) / kTile;
}

int blocks_for(int64_t tiles) {
  return tiles <= kMaxTilesOfOneBlock ? 1 : static_cast<int>(std::min<int64_t>(tiles, kMaxBlocks));
}

// Calls body(table, blocks) for each stretch of terms that one launch can take.
template <class T, class Body>
void for_each_table(std::span<const UnaryTerm> terms, Body body) {
  for (size_t begin = 0; begin < terms.size(); begin += kMaxTerms) {
    Table<T> table;
    table.count = 0;
    table.tiles = 0;
    for (const UnaryTerm& term :
         terms.subspan(begin, std::min<size_t>(kMaxTerms, terms.size() - begin))) {
      const T* x = static_cast<const T*>(term.x);
      const T* v = static_cast<const T*>(term.v);
      T* dx = static_cast<T*>(term.dx);
      table.rows[table.count++] = {x,
                                   v,
                                   dx,
                                   term.n,
                                   table.tiles,
                                   term.weight,
                                   static_cast<Compute<T>>(term.a),
                                   static_cast<Compute<T>>(term.b),
                                   aligned(x) && aligned(v) && aligned(dx)};
      table.tiles += tiles_of(term);
    }
    body(table, blocks_for(table.tiles));
  }
}

// Runs a summing kernel over all tables: run(table, blocks, partial, result or null), then the
// second stage.
template <class T, class Run>
void sum_over_tables(std::span<const UnaryTerm> terms, double* scratch, Compute<T>* result,
                     cudaStream_t stream, Run run) {
  int partials = 0;
  for_each_table<T>(terms, [&](const Table<T>& table, int blocks) {
    const bool alone = blocks == 1 && terms.size() <= kMaxTerms;
    run(table, blocks, scratch + partials, alone ? result : nullptr);
    partials += alone ? 0 : blocks;
  });
  if (partials > 0) {
    launch("sum_partials", sum_partials<Compute<T>>, 1, kThreads, stream, scratch, partials,
           result);
  }
}

// Calls body.operator()<F, T>() with the functor's and the storage type.
template <class Body>
void with_types(UnaryFunctor functor, DType dtype, Body body) {
  with_functor(functor, [&]<template <class> class F>() {
    with_dtype(dtype, [&]<class T>() { body.template operator()<F<Compute<T>>, T>(); });
  });
}

}  // namespace

int64_t unary_reduce_scratch(std::span<const UnaryTerm> terms) {
  return (terms.size() + kMaxTerms - 1) / kMaxTerms * kMaxBlocks;
}

void unary_reduce_forward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                          void* loss, double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    sum_over_tables<T>(terms, scratch, static_cast<Compute<T>*>(loss), stream,
                       [&](const Table<T>& table, int blocks, double* partial, Compute<T>* result) {
                         launch("unary_reduce_forward", unary_reduce_forward_kernel<F, T>, blocks,
                                kThreads, stream, table, partial, result);
                       });
  });
}

void unary_reduce_backward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                           const void* grad, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    for_each_table<T>(terms, [&](const Table<T>& table, int blocks) {
      launch("unary_reduce_backward", unary_reduce_backward_kernel<F, T>, blocks, kThreads, stream,
             table, static_cast<const Compute<T>*>(grad));
    });
  });
}

void unary_reduce_double_backward(UnaryFunctor functor, DType dtype,
                                  std::span<const UnaryTerm> terms, const void* grad, void* dgrad,
                                  double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    sum_over_tables<T>(terms, scratch, static_cast<Compute<T>*>(dgrad), stream,
                       [&](const Table<T>& table, int blocks, double* partial, Compute<T>* result) {
                         launch("unary_reduce_double_backward",
                                unary_reduce_double_backward_kernel<F, T>, blocks, kThreads, stream,
                                table, static_cast<const Compute<T>*>(grad), partial, result);
                       });
  });
}

}  // namespace ganfast::cuda
