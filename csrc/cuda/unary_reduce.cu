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
    Compute<T> part = 0;
    for_each_pack<T>(row, tile, [&](int64_t offset) {
      const Pack<T> x = load_pack(row.x + offset, row.x + row.n, row.whole);
      GANFAST_UNROLL
      for (int j = 0; j < Pack<T>::size; ++j) {
        if (offset + j < row.n) part += row.functor.f(load(x.values[j]));
      }
    });
    sum += row.weight * part;
  }
  finish_sum(sum, partial, loss);
}

// dx_ki = grad weight_k f'(x_ki)
template <class F, class T>
__global__ void __launch_bounds__(kThreads)
    unary_reduce_backward_kernel(const __grid_constant__ Table<Row<F, T>> table,
                                 const Compute<T>* grad) {
  for (int64_t tile = blockIdx.x; tile < table.tiles; tile += gridDim.x) {
    const auto& row = table.row(tile);
    const auto scale = static_cast<Compute<T>>(*grad * row.weight);
    for_each_pack<T>(row, tile, [&](int64_t offset) {
      const Pack<T> x = load_pack(row.x + offset, row.x + row.n, row.whole);
      Pack<T> dx;
      GANFAST_UNROLL
      for (int j = 0; j < Pack<T>::size; ++j)
        store(dx.values[j], scale * row.functor.df(load(x.values[j])));
      store_pack(dx, row.dx + offset, row.dx + row.n, row.whole);
    });
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
    Compute<T> part = 0;
    for_each_pack<T>(row, tile, [&](int64_t offset) {
      const Pack<T> x = load_pack(row.x + offset, row.x + row.n, row.whole);
      const Pack<T> v = load_pack(row.v + offset, row.v + row.n, row.whole);
      Pack<T> dx;
      GANFAST_UNROLL
      for (int j = 0; j < Pack<T>::size; ++j) {
        const Compute<T> xj = load(x.values[j]), vj = load(v.values[j]);
        store(dx.values[j], scale * vj * row.functor.d2f(xj));
        if (offset + j < row.n) part += vj * row.functor.df(xj);
      }
      store_pack(dx, row.dx + offset, row.dx + row.n, row.whole);
    });
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
