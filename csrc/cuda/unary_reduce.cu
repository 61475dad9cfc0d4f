// L = sum_k w_k * mean_i f(x_ki) and its two derivatives on CUDA: one launch for the whole list of
// tensors.
#include "../ops/unary_reduce.h"

#include "table.cuh"

namespace ganfast::cuda {
namespace {

template <class F, class T>
struct Row : RowBase {
  const T* x;  // (n)
  const T* v;  // (n)
  T* dx;       // (n)
  double weight;
  F functor;
};

// loss = sum_k weight_k sum_i f(x_ki)
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    unary_reduce_forward_kernel(const __grid_constant__ Table<Row<F, T>> table, double* partial,
                                Compute<T>* loss) {
  double sum = 0;
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const Share<T> share(row, tile);
    const auto x = share.load(row.x);
    Compute<T> part = 0;
    share.for_each_inside([&](int i, int j) { part += row.functor.f(load(x.at(i, j))); });
    sum += row.weight * part;
  }
  finish_sum(sum, partial, loss);
}

// The tiles that each block takes, one after the other. Block i's part of tensor k has its place
// i + k among the partial sums: no two parts share a place.
__device__ inline int64_t tiles_of_block(int64_t tiles, int blocks) {
  return (tiles + blocks - 1) / blocks;
}

// The rows of `stats` and the sum of their first column, from the partial sums of `blocks` blocks.
// For one block, whose warps take turns with the rows.
template <class Row, class Result>
__device__ void finish_stats(const Table<Row>& table, int blocks, const Sums* partial,
                             double* table_loss, Result* loss, Result* stats) {
  const int64_t size = tiles_of_block(table.tiles, blocks);
  const int lane = threadIdx.x % kWarp;
  double total = 0;
  for (int k = threadIdx.x / kWarp; k < table.count; k += kThreads / kWarp) {
    const auto& row = table.rows[k];
    const int64_t end = k + 1 < table.count ? table.rows[k + 1].first_tile : table.tiles;
    Sums sums{};
    for (int64_t i = row.first_tile / size + lane; i <= (end - 1) / size; i += kWarp)
      add(sums, partial[i + k]);
    sums = warp_sums(sums);
    if (lane > 0) continue;
    const double value = row.weight * sums.f;
    total += value;
    write_stats(value, sums, static_cast<double>(row.n), stats + 4 * k);
  }
  finish_sum(total, table_loss, loss);
}

template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    finish_stats_kernel(const __grid_constant__ Table<Row<F, T>> table, int blocks,
                        const Sums* partial, double* table_loss, Compute<T>* loss,
                        Compute<T>* stats) {
  finish_stats(table, blocks, partial, table_loss, loss, stats);
}

// The partial sums of each block; where there is one block, the results too.
template <class F, class T>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    unary_reduce_stats_kernel(const __grid_constant__ Table<Row<F, T>> table, Compute<T> threshold,
                              Sums* partial, double* table_loss, Compute<T>* loss,
                              Compute<T>* stats) {
  GANFAST_SHARED(Sums, of_warps, kThreads / kWarp);
  const int64_t size = tiles_of_block(table.tiles, gridDim.x);
  int64_t tile = blockIdx.x * size;
  const int64_t last = tile + size < table.tiles ? tile + size : table.tiles;
  while (tile < last) {
    const int k = table.index(tile);
    const auto& row = table.rows[k];
    const int64_t next = k + 1 < table.count ? table.rows[k + 1].first_tile : table.tiles;
    Sums sums{};
    for (const int64_t end = next < last ? next : last; tile < end; ++tile) {
      Compute<T> f = 0, x = 0;
      int above = 0, below = 0;
      const Share<T> share(row, tile);
      const auto logits = share.load(row.x);
      share.for_each_inside([&](int i, int j) {
        const Compute<T> logit = load(logits.at(i, j));
        f += row.functor.f(logit);
        x += logit;
        above += logit > threshold;
        below += logit < threshold;
      });
      add(sums, {double(f), double(x), double(above), double(below)});
    }
    sums = warp_sums(sums);
    __syncthreads();  // thread 0 has read the sums of the row before
    if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = sums;
    __syncthreads();
    if (threadIdx.x > 0) continue;
    for (int warp = 1; warp < kThreads / kWarp; ++warp) add(sums, of_warps[warp]);
    partial[blockIdx.x + k] = sums;
  }
  if (gridDim.x > 1) return;
  __syncthreads();
  finish_stats(table, 1, partial, table_loss, loss, stats);
}

// dx_ki = grad weight_k f'(x_ki)
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    unary_reduce_backward_kernel(const __grid_constant__ Table<Row<F, T>> table,
                                 const Compute<T>* grad) {
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const auto scale = static_cast<Compute<T>>(*grad * row.weight);
    const Share<T> share(row, tile);
    auto x = share.load(row.x);
    share.for_each(
        [&](int i, int j) { store(x.at(i, j), scale * row.functor.df(load(x.at(i, j)))); });
    share.store(x, row.dx);
  }
}

// dgrad = sum_k weight_k sum_i v_ki f'(x_ki),  dx_ki = grad weight_k v_ki f''(x_ki)
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    unary_reduce_double_backward_kernel(const __grid_constant__ Table<Row<F, T>> table,
                                        const Compute<T>* grad, double* partial,
                                        Compute<T>* dgrad) {
  double sum = 0;
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const auto scale = static_cast<Compute<T>>(*grad * row.weight);
    const Share<T> share(row, tile);
    const auto x = share.load(row.x);
    auto v = share.load(row.v);
    Compute<T> part = 0;
    share.for_each_inside([&](int i, int j) {
      const Compute<T> xi = load(x.at(i, j)), vi = load(v.at(i, j));
      store(v.at(i, j), scale * vi * row.functor.d2f(xi));
      part += vi * row.functor.df(xi);
    });
    share.store(v, row.dx);
    sum += row.weight * part;
  }
  finish_sum(sum, partial, dgrad);
}

template <class F, class T>
Row<F, T> make_row(const UnaryTerm& term) {
  const T* x = static_cast<const T*>(term.x);
  const T* v = static_cast<const T*>(term.v);
  T* dx = static_cast<T*>(term.dx);
  const F functor{static_cast<Compute<T>>(term.a), static_cast<Compute<T>>(term.b)};
  return {{term.n, aligned(x) && aligned(v) && aligned(dx), 0}, x, v, dx, term.weight, functor};
}

}  // namespace

int64_t unary_reduce_scratch(std::span<const UnaryTerm> terms) {
  return scratch_for(terms.size());
}

void unary_reduce_forward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                          void* loss_, double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    const auto loss = static_cast<Compute<T>*>(loss_);
    sum_over_tables(
        terms, make_row<F, T>, scratch, loss, stream,
        [&](const Table<Row<F, T>>& table, int blocks, double* partial, Compute<T>* result) {
          launch("unary_reduce_forward", unary_reduce_forward_kernel<F, T>, blocks, kThreads,
                 stream, table, partial, result);
        });
  });
}

int64_t unary_reduce_stats_scratch(std::span<const UnaryTerm> terms) {
  const int64_t tables = (terms.size() + kMaxRows - 1) / kMaxRows;
  return sizeof(Sums) / sizeof(double) * (kSharingBlocks + kMaxRows) + tables;
}

void unary_reduce_forward_stats(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                                double threshold, void* loss_, void* stats_, double* scratch,
                                void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    const auto loss = static_cast<Compute<T>*>(loss_);
    auto stats = static_cast<Compute<T>*>(stats_);
    const auto partial = reinterpret_cast<Sums*>(scratch);
    double* const losses = scratch + sizeof(Sums) / sizeof(double) * (kSharingBlocks + kMaxRows);
    const bool alone = terms.size() <= kMaxRows;
    int tables = 0;
    for_each_table(terms, make_row<F, T>, [&](const Table<Row<F, T>>& table, int most) {
      // A single warp may have to add up what they leave.
      const int blocks = std::min<int>(most, kSharingBlocks);
      Compute<T>* const result = alone ? loss : nullptr;
      double* const table_loss = losses + tables++;
      launch("unary_reduce_forward_stats", unary_reduce_stats_kernel<F, T>, blocks, kThreads,
             stream, table, static_cast<Compute<T>>(threshold), partial, table_loss, result, stats);
      if (blocks > 1) {
        launch("finish_stats", finish_stats_kernel<F, T>, 1, kThreads, stream, table, blocks,
               partial, table_loss, result, stats);
      }
      stats += 4 * table.count;
    });
    if (!alone) {
      launch("sum_partials", sum_partials<Compute<T>>, 1, kThreads, stream, losses, tables, loss);
    }
  });
}

void unary_reduce_backward(UnaryFunctor functor, DType dtype, std::span<const UnaryTerm> terms,
                           const void* grad_, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    const auto grad = static_cast<const Compute<T>*>(grad_);
    for_each_table(terms, make_row<F, T>, [&](const Table<Row<F, T>>& table, int blocks) {
      launch("unary_reduce_backward", unary_reduce_backward_kernel<F, T>, blocks, kThreads, stream,
             table, grad);
    });
  });
}

void unary_reduce_double_backward(UnaryFunctor functor, DType dtype,
                                  std::span<const UnaryTerm> terms, const void* grad_, void* dgrad_,
                                  double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    const auto grad = static_cast<const Compute<T>*>(grad_);
    const auto dgrad = static_cast<Compute<T>*>(dgrad_);
    sum_over_tables(
        terms, make_row<F, T>, scratch, dgrad, stream,
        [&](const Table<Row<F, T>>& table, int blocks, double* partial, Compute<T>* result) {
          launch("unary_reduce_double_backward", unary_reduce_double_backward_kernel<F, T>, blocks,
                 kThreads, stream, table, grad, partial, result);
        });
  });
}

}  // namespace ganfast::cuda
