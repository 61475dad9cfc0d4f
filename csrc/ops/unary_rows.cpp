// unary_rows: for each sample b, sum_k w_k s_kb mean_j f(x_kbj; a_k, b_k), its gradient and its
// second gradient as ops of their own. The sample weights s and the samples' own a are constants.
#include "unary_rows.h"

#include "list_autograd.h"
#include "register.h"
#include "unary_functor.h"

namespace ganfast {
namespace {

using at::Tensor;
using at::TensorList;
using torch::autograd::variable_list;
// Numbers of samples for each tensor of a list, where it has some; empty where none has.
using OfSamples = c10::List<std::optional<Tensor>>;

void check_of_samples(const char* name, const OfSamples& list, TensorList x) {
  TORCH_CHECK_VALUE(list.empty() || list.size() == x.size(), "unary_rows: ", name,
                    " must be empty or have one entry for each of the ", x.size(), " tensors, got ",
                    list.size());
  for (size_t k = 0; k < list.size(); ++k) {
    const std::optional<Tensor> numbers = list[k];
    if (!numbers) continue;
    TORCH_CHECK_TYPE(numbers->scalar_type() == loss_dtype(x[0]), "unary_rows: ", name, "[", k,
                     "] must have dtype ", toString(loss_dtype(x[0])), ", got ",
                     toString(numbers->scalar_type()));
    TORCH_CHECK_VALUE(numbers->device() == x[0].device() && numbers->dim() == 1 &&
                          numbers->sym_size(0) == x[0].sym_size(0),
                      "unary_rows: ", name, "[", k, "] must be on ", x[0].device(),
                      " with one entry for each of the ", x[0].sym_size(0), " samples, got shape ",
                      numbers->sym_sizes(), " on ", numbers->device());
    TORCH_CHECK_VALUE(!numbers->requires_grad(), "unary_rows: ", name, "[", k,
                      "] must not require a gradient");
  }
}

void check(TensorList x, const OfSamples& sample_weight, const OfSamples& sample_a, Floats weight,
           Floats a, Floats b) {
  check_list("unary_rows", "x", x);
  check_parameters("unary_rows", x.size(), weight, a, b);
  for (size_t k = 0; k < x.size(); ++k) {
    TORCH_CHECK_VALUE(x[k].dim() > 0, "unary_rows: x[", k,
                      "] must have an axis of samples, got a scalar");
    TORCH_CHECK_VALUE(x[k].sym_size(0) == x[0].sym_size(0), "unary_rows: x[", k,
                      "] must have as many samples as x[0], ", x[0].sym_size(0), ", got ",
                      x[k].sym_size(0));
  }
  check_of_samples("sample_weight", sample_weight, x);
  check_of_samples("sample_a", sample_a, x);
}

void check_rows_gradient(const Tensor& grad, const Tensor& x) {
  check_gradient("unary_rows_backward", grad, x);
  TORCH_CHECK_VALUE(grad.dim() == 1 && grad.sym_size(0) == x.sym_size(0),
                    "unary_rows_backward: grad must have one entry for each of the ", x.sym_size(0),
                    " samples, got shape ", grad.sym_sizes());
}

// The list as the kernels read it. Holds what had to be copied for as long as the terms are in use.
struct Terms {
  std::vector<Tensor> x, v, dx, of_samples;
  std::vector<RowsTerm> terms;
  RowsList list;

  Terms(TensorList inputs, const OfSamples& sample_weight, const OfSamples& sample_a, Floats weight,
        Floats a, Floats b, bool normalize) {
    const size_t count = inputs.size();
    const int64_t samples = inputs[0].size(0);
    x.reserve(count);
    terms.reserve(count);
    for (size_t k = 0; k < count; ++k) {
      x.push_back(dense_samples(inputs[k]));
      const int64_t size = x[k].numel() / samples;
      terms.push_back({x[k].const_data_ptr(), nullptr, nullptr, numbers(sample_weight, k),
                       numbers(sample_a, k), size, weight[k] / size, a[k], b[k]});
    }
    list = {terms, samples, normalize};
  }

  const void* numbers(const OfSamples& list, size_t k) {
    if (list.empty()) return nullptr;
    const std::optional<Tensor> numbers = list[k];
    if (!numbers) return nullptr;
    of_samples.push_back(numbers->contiguous());
    return of_samples.back().const_data_ptr();
  }

  void want_gradients() {
    dx.reserve(x.size());
    for (size_t k = 0; k < x.size(); ++k) {
      dx.push_back(at::empty_like(x[k]));
      terms[k].dx = dx[k].mutable_data_ptr();
    }
  }

  void take_second_order(TensorList cotangents) {
    v.reserve(x.size());
    for (size_t k = 0; k < x.size(); ++k) {
      v.push_back(dense_like(cotangents[k], x[k]));
      terms[k].v = v[k].const_data_ptr();
    }
  }
};

// A gradient with equal steps of 0 or 1, as the sum over samples and other ops send it.
struct Gradient {
  Tensor tensor;
  RowsGrad view;

  explicit Gradient(const Tensor& grad)
      : tensor(grad.stride(0) == 0 ? grad : grad.contiguous()),
        view{tensor.const_data_ptr(), tensor.stride(0)} {}
};

#ifdef GANFAST_CUDA
Tensor scratch_for(const RowsList& list, const Tensor& x) {
  return at::empty({cuda::unary_rows_scratch(list)}, x.options().dtype(at::kDouble));
}
#endif

Tensor forward(TensorList x, const OfSamples& sample_weight, const OfSamples& sample_a,
               std::string_view f, Floats weight, Floats a, Floats b, bool normalize) {
  check(x, sample_weight, sample_a, weight, a, b);
  const UnaryFunctor functor = unary_functor_named("unary_rows", f);
  const DType dtype = dtype_of(x[0]);
  Tensor rows = at::empty({x[0].size(0)}, x[0].options().dtype(loss_dtype(x[0])));
  Terms of(x, sample_weight, sample_a, weight, a, b, normalize);
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    Tensor scratch = scratch_for(of.list, x[0]);
    cuda::unary_rows_forward(functor, dtype, of.list, rows.mutable_data_ptr(),
                             scratch.mutable_data_ptr<double>(), c10::cuda::getCurrentCUDAStream());
    return rows;
  }
#endif
  cpu::unary_rows_forward(functor, dtype, of.list, rows.mutable_data_ptr());
  return rows;
}

// The rows (B,) and the (K, 4) statistics, not filled.
std::tuple<Tensor, Tensor> empty_results(TensorList x) {
  const auto options = x[0].options().dtype(loss_dtype(x[0]));
  return {at::empty_symint({x[0].sym_size(0)}, options),
          at::empty({static_cast<int64_t>(x.size()), 4}, options)};
}

std::tuple<Tensor, Tensor> forward_stats(TensorList x, const OfSamples& sample_weight,
                                         const OfSamples& sample_a, std::string_view f,
                                         Floats weight, Floats a, Floats b, bool normalize,
                                         double threshold) {
  check(x, sample_weight, sample_a, weight, a, b);
  const UnaryFunctor functor = unary_functor_named("unary_rows", f);
  const DType dtype = dtype_of(x[0]);
  auto [rows, stats] = empty_results(x);
  Terms of(x, sample_weight, sample_a, weight, a, b, normalize);
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    Tensor scratch =
        at::empty({cuda::unary_rows_stats_scratch(of.list)}, x[0].options().dtype(at::kDouble));
    cuda::unary_rows_forward_stats(functor, dtype, of.list, threshold, rows.mutable_data_ptr(),
                                   stats.mutable_data_ptr(), scratch.mutable_data_ptr<double>(),
                                   c10::cuda::getCurrentCUDAStream());
    return {rows, stats};
  }
#endif
  cpu::unary_rows_forward_stats(functor, dtype, of.list, threshold, rows.mutable_data_ptr(),
                                stats.mutable_data_ptr());
  return {rows, stats};
}

std::vector<Tensor> backward(const Tensor& grad, TensorList x, const OfSamples& sample_weight,
                             const OfSamples& sample_a, std::string_view f, Floats weight, Floats a,
                             Floats b, bool normalize) {
  check(x, sample_weight, sample_a, weight, a, b);
  check_rows_gradient(grad, x[0]);
  const UnaryFunctor functor = unary_functor_named("unary_rows", f);
  const DType dtype = dtype_of(x[0]);
  const Gradient outer(grad);
  Terms of(x, sample_weight, sample_a, weight, a, b, normalize);
  of.want_gradients();
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    Tensor scratch = scratch_for(of.list, x[0]);
    cuda::unary_rows_backward(functor, dtype, of.list, outer.view,
                              scratch.mutable_data_ptr<double>(),
                              c10::cuda::getCurrentCUDAStream());
    return std::move(of.dx);
  }
#endif
  cpu::unary_rows_backward(functor, dtype, of.list, outer.view);
  return std::move(of.dx);
}

std::tuple<Tensor, std::vector<Tensor>> double_backward(const Tensor& grad, TensorList x,
                                                        TensorList v,
                                                        const OfSamples& sample_weight,
                                                        const OfSamples& sample_a,
                                                        std::string_view f, Floats weight, Floats a,
                                                        Floats b, bool normalize) {
  check(x, sample_weight, sample_a, weight, a, b);
  check_rows_gradient(grad, x[0]);
  check_cotangents("unary_rows_double_backward", v, x);
  const UnaryFunctor functor = unary_functor_named("unary_rows", f);
  const DType dtype = dtype_of(x[0]);
  const Gradient outer(grad);
  Tensor dgrad = at::empty({grad.size(0)}, grad.options());
  Terms of(x, sample_weight, sample_a, weight, a, b, normalize);
  of.want_gradients();
  of.take_second_order(v);
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    Tensor scratch = scratch_for(of.list, x[0]);
    cuda::unary_rows_double_backward(functor, dtype, of.list, outer.view, dgrad.mutable_data_ptr(),
                                     scratch.mutable_data_ptr<double>(),
                                     c10::cuda::getCurrentCUDAStream());
    return {dgrad, std::move(of.dx)};
  }
#endif
  cpu::unary_rows_double_backward(functor, dtype, of.list, outer.view, dgrad.mutable_data_ptr());
  return {dgrad, std::move(of.dx)};
}

// Shapes alone, for tracing.

Tensor forward_meta(TensorList x, const OfSamples& sample_weight, const OfSamples& sample_a,
                    std::string_view f, Floats weight, Floats a, Floats b, bool) {
  check(x, sample_weight, sample_a, weight, a, b);
  unary_functor_named("unary_rows", f);
  return at::empty_symint({x[0].sym_size(0)}, x[0].options().dtype(loss_dtype(x[0])));
}

std::tuple<Tensor, Tensor> forward_stats_meta(TensorList x, const OfSamples& sample_weight,
                                              const OfSamples& sample_a, std::string_view f,
                                              Floats weight, Floats a, Floats b, bool, double) {
  check(x, sample_weight, sample_a, weight, a, b);
  unary_functor_named("unary_rows", f);
  return empty_results(x);
}

std::vector<Tensor> backward_meta(const Tensor&, TensorList x, const OfSamples&, const OfSamples&,
                                  std::string_view, Floats, Floats, Floats, bool) {
  std::vector<Tensor> dx;
  for (const Tensor& xk : x) dx.push_back(at::empty_like(dense_samples(xk)));
  return dx;
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_meta(const Tensor& grad, TensorList x,
                                                             TensorList,
                                                             const OfSamples& sample_weight,
                                                             const OfSamples& sample_a,
                                                             std::string_view f, Floats weight,
                                                             Floats a, Floats b, bool normalize) {
  return {at::empty_symint({grad.sym_size(0)}, grad.options()),
          backward_meta(grad, x, sample_weight, sample_a, f, weight, a, b, normalize)};
}

// Autograd.

struct RowsParameters : Parameters {
  OfSamples sample_weight, sample_a;
  bool normalize;

  RowsParameters(const Parameters& terms, const OfSamples& sample_weight, const OfSamples& sample_a,
                 bool normalize)
      : Parameters(terms.f, terms.weight, terms.a, terms.b),
        sample_weight(sample_weight),
        sample_a(sample_a),
        normalize(normalize) {}

  std::vector<Tensor> numbers() const {
    std::vector<Tensor> all;
    for (const OfSamples* list : {&sample_weight, &sample_a}) {
      for (const std::optional<Tensor> numbers : *list) {
        if (numbers) all.push_back(*numbers);
      }
    }
    return all;
  }

  static OfSamples select(const OfSamples& list, const std::vector<size_t>& keep) {
    OfSamples some;
    if (list.empty()) return some;
    for (size_t k : keep) some.push_back(list.get(k));
    return some;
  }

  c10::intrusive_ptr<RowsParameters> select(const std::vector<size_t>& keep) const {
    return c10::make_intrusive<RowsParameters>(
        *Parameters::select(keep), select(sample_weight, keep), select(sample_a, keep), normalize);
  }
};

Tensor call_forward(TensorList x, const OfSamples& sample_weight, const OfSamples& sample_a,
                    std::string_view f, Floats weight, Floats a, Floats b, bool normalize) {
  static const auto call = op<decltype(forward)>("ganfast::unary_rows");
  return call.call(x, sample_weight, sample_a, f, weight, a, b, normalize);
}

auto call_forward_stats(TensorList x, const OfSamples& sample_weight, const OfSamples& sample_a,
                        std::string_view f, Floats weight, Floats a, Floats b, bool normalize,
                        double threshold) {
  static const auto call = op<decltype(forward_stats)>("ganfast::unary_rows_stats");
  return call.call(x, sample_weight, sample_a, f, weight, a, b, normalize, threshold);
}

std::vector<Tensor> call_backward(const Tensor& grad, TensorList x, const OfSamples& sample_weight,
                                  const OfSamples& sample_a, std::string_view f, Floats weight,
                                  Floats a, Floats b, bool normalize) {
  static const auto call = op<decltype(backward)>("ganfast::unary_rows_backward");
  return call.call(grad, x, sample_weight, sample_a, f, weight, a, b, normalize);
}

struct UnaryRows {
  static constexpr auto name = "unary_rows";
  using Of = RowsParameters;

  static std::vector<Tensor> first(const Tensor& grad, TensorList x, const Of& of) {
    return call_backward(grad, x, of.sample_weight, of.sample_a, of.f, of.weight, of.a, of.b,
                         of.normalize);
  }

  static auto second(const Tensor& grad, TensorList x, TensorList v, const Of& of) {
    static const auto call = op<decltype(double_backward)>("ganfast::unary_rows_double_backward");
    return call.call(grad, x, v, of.sample_weight, of.sample_a, of.f, of.weight, of.a, of.b,
                     of.normalize);
  }
};

using Autograd = ListAutograd<UnaryRows>;

auto shared(const OfSamples& sample_weight, const OfSamples& sample_a, std::string_view f,
            Floats weight, Floats a, Floats b, bool normalize) {
  return c10::make_intrusive<RowsParameters>(Parameters(f, weight, a, b), sample_weight, sample_a,
                                             normalize);
}

Tensor forward_autograd(TensorList x, const OfSamples& sample_weight, const OfSamples& sample_a,
                        std::string_view f, Floats weight, Floats a, Floats b, bool normalize) {
  if (!records(x)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_forward(x, sample_weight, sample_a, f, weight, a, b, normalize);
  }
  return Autograd::forward(x, shared(sample_weight, sample_a, f, weight, a, b, normalize), [&] {
    return variable_list{call_forward(x, sample_weight, sample_a, f, weight, a, b, normalize)};
  })[0];
}

std::tuple<Tensor, Tensor> forward_stats_autograd(TensorList x, const OfSamples& sample_weight,
                                                  const OfSamples& sample_a, std::string_view f,
                                                  Floats weight, Floats a, Floats b, bool normalize,
                                                  double threshold) {
  if (!records(x)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_forward_stats(x, sample_weight, sample_a, f, weight, a, b, normalize, threshold);
  }
  const auto of = shared(sample_weight, sample_a, f, weight, a, b, normalize);
  const variable_list made = Autograd::forward(x, of, [&] {
    auto [rows, stats] =
        call_forward_stats(x, sample_weight, sample_a, f, weight, a, b, normalize, threshold);
    return variable_list{rows, stats};
  });
  return {made[0], made[1]};
}

std::vector<Tensor> backward_autograd(const Tensor& grad, TensorList x,
                                      const OfSamples& sample_weight, const OfSamples& sample_a,
                                      std::string_view f, Floats weight, Floats a, Floats b,
                                      bool normalize) {
  if (!records(grad) && !records(x)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_backward(grad, x, sample_weight, sample_a, f, weight, a, b, normalize);
  }
  return Autograd::first(grad, x, shared(sample_weight, sample_a, f, weight, a, b, normalize));
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_autograd(
    const Tensor& grad, TensorList x, TensorList v, const OfSamples& sample_weight,
    const OfSamples& sample_a, std::string_view f, Floats weight, Floats a, Floats b,
    bool normalize) {
  return Autograd::second(grad, x, v, shared(sample_weight, sample_a, f, weight, a, b, normalize));
}

}  // namespace

#define GANFAST_UNARY_ROWS_OPS(op)                                                              \
  op(unary_rows, forward) op(unary_rows_stats, forward_stats) op(unary_rows_backward, backward) \
      op(unary_rows_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_UNARY_ROWS_OPS)

}  // namespace ganfast
