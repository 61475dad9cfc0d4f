// L = sum_k w_k * mean_i f(x_ki - y_ki) and its two derivatives on CUDA: one launch for the whole
// list of pairs.
#include "../ops/pair_reduce.h"

#include "table.cuh"

namespace ganfast::cuda {
namespace {

// As kBlocksOfProcessor: four tensors' shares of double leave registers for one block.
constexpr int kBlocksOfFourShares = 1;

template <class F, class T>
struct Row : RowBase {
  const T* x;      // (n)
  const T* y;      // (n)
  const T* vx;     // (n) or null
  const T* vy;     // (n) or null
  T* dx;           // (n) or null
  T* dy;           // (n) or null
  int64_t result;  // the row's place in grad
  double weight;
  F functor;
};

// Zeros where there is no memory.
template <class T>
__device__ auto load_given(const Share<T>& share, const T* v) {
  return v == nullptr ? typename Share<T>::Packs{} : share.load(v);
}

// Writes what is there to dx and its negative to dy, those that are wanted.
template <class F, class T>
__device__ void store_wanted(const Share<T>& share, typename Share<T>::Packs d,
                             const Row<F, T>& row) {
  if (row.dx != nullptr) share.store(d, row.dx);
  if (row.dy == nullptr) return;
  share.for_each([&](int i, int j) { store(d.at(i, j), -load(d.at(i, j))); });
  share.store(d, row.dy);
}

// Adds a tile's sum to the block's; with per_pair, writes it to the tile's partial. All threads
// must call it.
__device__ inline void add_tile(double part, bool per_pair, int64_t tile, double* partial,
                                double& sum) {
  if (!per_pair) {
    sum += part;
    return;
  }
  part = block_sum(part);
  if (threadIdx.x == 0) partial[tile] = part;
  __syncthreads();  // before the next block_sum
}

// loss = sum_k weight_k sum_i f(x_ki - y_ki); with per_pair, partial = the sums of the tiles
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    pair_reduce_forward_kernel(const __grid_constant__ Table<Row<F, T>> table, bool per_pair,
                               double* partial, Compute<T>* loss) {
  double sum = 0;
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const Share<T> share(row, tile);
    const auto x = share.load(row.x), y = share.load(row.y);
    Compute<T> part = 0;
    share.for_each_inside(
        [&](int i, int j) { part += row.functor.f(load(x.at(i, j)) - load(y.at(i, j))); });
    add_tile(row.weight * part, per_pair, tile, partial, sum);
  }
  if (!per_pair) finish_sum(sum, partial, loss);
}

// dx_ki = grad weight_k f'(x_ki - y_ki),  dy_ki = -dx_ki
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    pair_reduce_backward_kernel(const __grid_constant__ Table<Row<F, T>> table,
                                const Compute<T>* grad) {
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const auto scale = static_cast<Compute<T>>(grad[row.result] * row.weight);
    const Share<T> share(row, tile);
    auto x = share.load(row.x);
    const auto y = share.load(row.y);
    share.for_each([&](int i, int j) {
      store(x.at(i, j), scale * row.functor.df(load(x.at(i, j)) - load(y.at(i, j))));
    });
    store_wanted(share, x, row);
  }
}

// dgrad = sum_k weight_k sum_i u_ki f'(d_ki),  dx_ki = grad weight_k u_ki f''(d_ki),
// dy_ki = -dx_ki, with d = x - y, u = vx - vy; with per_pair, partial = the sums of the tiles
template <class F, class T>
__global__ void __launch_bounds__(kThreads, kBlocksOfFourShares)
    pair_reduce_double_backward_kernel(const __grid_constant__ Table<Row<F, T>> table,
                                       const Compute<T>* grad, bool per_pair, double* partial,
                                       Compute<T>* dgrad) {
  double sum = 0;
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const auto scale = static_cast<Compute<T>>(grad[row.result] * row.weight);
    const Share<T> share(row, tile);
    auto x = share.load(row.x);
    const auto y = share.load(row.y);
    const auto vx = load_given(share, row.vx), vy = load_given(share, row.vy);
    Compute<T> part = 0;
    share.for_each_inside([&](int i, int j) {
      const Compute<T> d = load(x.at(i, j)) - load(y.at(i, j)),
                       u = load(vx.at(i, j)) - load(vy.at(i, j));
      store(x.at(i, j), scale * u * row.functor.d2f(d));
      part += u * row.functor.df(d);
    });
    store_wanted(share, x, row);
    add_tile(row.weight * part, per_pair, tile, partial, sum);
  }
  if (!per_pair) finish_sum(sum, partial, dgrad);
}

template <class F, class T>
Row<F, T> make_row(const PairTerm& term) {
  const T* x = static_cast<const T*>(term.x);
  const T* y = static_cast<const T*>(term.y);
  const T* vx = static_cast<const T*>(term.vx);
  const T* vy = static_cast<const T*>(term.vy);
  T* dx = static_cast<T*>(term.dx);
  T* dy = static_cast<T*>(term.dy);
  const bool whole =
      aligned(x) && aligned(y) && aligned(vx) && aligned(vy) && aligned(dx) && aligned(dy);
  const F functor{static_cast<Compute<T>>(term.a), static_cast<Compute<T>>(term.b)};
  return {{term.n, whole, 0}, x, y, vx, vy, dx, dy, term.result, term.weight, functor};
}

// Runs a summing kernel, run(table, blocks, partial, result), for all pairs together or for each.
template <class F, class T, class Run>
void sum_pairs(std::span<const PairTerm> terms, bool per_pair, double* scratch, void* result_,
               cudaStream_t stream, Run run) {
  const auto result = static_cast<Compute<T>*>(result_);
  if (per_pair) {
    sum_each_row(terms, make_row<F, T>, scratch, result, stream,
                 [&](const Table<Row<F, T>>& table, int blocks, double* partial) {
                   run(table, blocks, partial, nullptr);
                 });
  } else {
    sum_over_tables(terms, make_row<F, T>, scratch, result, stream, run);
  }
}

}  // namespace

int64_t pair_reduce_scratch(std::span<const PairTerm> terms, bool per_pair) {
  return per_pair ? scratch_for_each_row(terms) : scratch_for(terms.size());
}

void pair_reduce_forward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                         bool per_pair, void* loss, double* scratch, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    sum_pairs<F, T>(
        terms, per_pair, scratch, loss, stream,
        [&](const Table<Row<F, T>>& table, int blocks, double* partial, Compute<T>* result) {
          launch("pair_reduce_forward", pair_reduce_forward_kernel<F, T>, blocks, kThreads, stream,
                 table, per_pair, partial, result);
        });
  });
}

void pair_reduce_backward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                          const void* grad_, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    const auto grad = static_cast<const Compute<T>*>(grad_);
    for_each_table(terms, make_row<F, T>, [&](const Table<Row<F, T>>& table, int blocks) {
      launch("pair_reduce_backward", pair_reduce_backward_kernel<F, T>, blocks, kThreads, stream,
             table, grad);
    });
  });
}

void pair_reduce_double_backward(PairFunctor functor, DType dtype, std::span<const PairTerm> terms,
                                 bool per_pair, const void* grad_, void* dgrad, double* scratch,
                                 void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_types(functor, dtype, [&]<class F, class T>() {
    const auto grad = static_cast<const Compute<T>*>(grad_);
    sum_pairs<F, T>(
        terms, per_pair, scratch, dgrad, stream,
        [&](const Table<Row<F, T>>& table, int blocks, double* partial, Compute<T>* result) {
          launch("pair_reduce_double_backward", pair_reduce_double_backward_kernel<F, T>, blocks,
                 kThreads, stream, table, grad, per_pair, partial, result);
        });
  });
}

}  // namespace ganfast::cuda
