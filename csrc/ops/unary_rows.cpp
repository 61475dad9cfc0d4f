// unary_rows: for each sample b, sum_k w_k s_kb mean_j f(x_kbj; a_k, b_k), its gradient and its
// second gradient as ops of their own. The sample weights s and the samples' own a are constants.
#include "unary_rows.h"

#include "register.h"
#include "terms.h"
#include "unary_functor.h"

namespace ganfast {
namespace {

using at::Tensor;
using at::TensorList;
using torch::autograd::AutogradContext;
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

// Autograd. Each order calls the next as an op; the parameters of the terms travel as one
// non-tensor argument.

struct RowsParameters : torch::CustomClassHolder {
  c10::intrusive_ptr<Parameters> of_terms;
  OfSamples sample_weight, sample_a;
  bool normalize;

  RowsParameters(c10::intrusive_ptr<Parameters> of_terms, const OfSamples& sample_weight,
                 const OfSamples& sample_a, bool normalize)
      : of_terms(std::move(of_terms)),
        sample_weight(sample_weight),
        sample_a(sample_a),
        normalize(normalize) {}

  static OfSamples select(const OfSamples& list, const std::vector<size_t>& keep) {
    OfSamples some;
    if (list.empty()) return some;
    for (size_t k : keep) some.push_back(list.get(k));
    return some;
  }

  // The parameters of the terms that `keep` names.
  c10::intrusive_ptr<RowsParameters> select(const std::vector<size_t>& keep) const {
    return c10::make_intrusive<RowsParameters>(of_terms->select(keep), select(sample_weight, keep),
                                               select(sample_a, keep), normalize);
  }
};

using SharedRowsParameters = c10::intrusive_ptr<RowsParameters>;

// Keeps the parameters for the backward, and x with `more` in a way that notices later changes.
void save(AutogradContext* ctx, const SharedRowsParameters& p, TensorList x,
          std::initializer_list<Tensor> more) {
  ctx->saved_data["parameters"] = c10::IValue::make_capsule(p);
  variable_list saved = x.vec();
  saved.insert(saved.end(), more);
  for (const OfSamples* list : {&p->sample_weight, &p->sample_a}) {
    for (const std::optional<Tensor> numbers : *list) {
      if (numbers) saved.push_back(*numbers);
    }
  }
  ctx->save_for_backward(std::move(saved));
}

SharedRowsParameters saved_rows_parameters(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<RowsParameters>(
      ctx->saved_data["parameters"].toCapsule());
}

Tensor call_forward(TensorList x, const OfSamples& sample_weight, const OfSamples& sample_a,
                    std::string_view f, Floats weight, Floats a, Floats b, bool normalize) {
  static const auto call = op<decltype(forward)>("ganfast::unary_rows");
  return call.call(x, sample_weight, sample_a, f, weight, a, b, normalize);
}

std::vector<Tensor> call_backward(const Tensor& grad, TensorList x, const OfSamples& sample_weight,
                                  const OfSamples& sample_a, std::string_view f, Floats weight,
                                  Floats a, Floats b, bool normalize) {
  static const auto call = op<decltype(backward)>("ganfast::unary_rows_backward");
  return call.call(grad, x, sample_weight, sample_a, f, weight, a, b, normalize);
}

auto call_double_backward(const Tensor& grad, TensorList x, TensorList v,
                          const SharedRowsParameters& p) {
  static const auto call = op<decltype(double_backward)>("ganfast::unary_rows_double_backward");
  const Parameters& terms = *p->of_terms;
  return call.call(grad, x, v, p->sample_weight, p->sample_a, terms.f, terms.weight, terms.a,
                   terms.b, p->normalize);
}

struct DoubleBackward : torch::autograd::Function<DoubleBackward> {
  static variable_list forward(AutogradContext*, const Tensor& grad, TensorList x, TensorList v,
                               const SharedRowsParameters& p) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [dgrad, dx] = call_double_backward(grad, x, v, p);
    dx.insert(dx.begin(), dgrad);
    return dx;
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK_NOT_IMPLEMENTED(false,
                                "unary_rows: derivatives of the third order are not implemented; "
                                "use ganfast.reference.unary_rows");
  }
};

struct Backward : torch::autograd::Function<Backward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, TensorList x,
                               const SharedRowsParameters& p) {
    save(ctx, p, x, {grad});
    at::AutoDispatchBelowADInplaceOrView guard;
    const Parameters& terms = *p->of_terms;
    return call_backward(grad, x, p->sample_weight, p->sample_a, terms.f, terms.weight, terms.a,
                         terms.b, p->normalize);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor grad = saved[v.size()];
    std::vector<size_t> keep;
    variable_list x, cotangents;
    for (size_t k = 0; k < v.size(); ++k) {
      if (!v[k].defined()) continue;
      keep.push_back(k);
      x.push_back(saved[k]);
      cotangents.push_back(v[k]);
    }
    variable_list grads(v.size() + 2);  // grad, x..., parameters
    if (keep.empty()) return grads;
    auto [dgrad, dx] =
        call_double_backward(grad, x, cotangents, saved_rows_parameters(ctx)->select(keep));
    grads[0] = dgrad;
    for (size_t i = 0; i < keep.size(); ++i) grads[1 + keep[i]] = dx[i];
    return grads;
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static Tensor forward(AutogradContext* ctx, TensorList x, const SharedRowsParameters& p) {
    save(ctx, p, x, {});
    at::AutoDispatchBelowADInplaceOrView guard;
    const Parameters& terms = *p->of_terms;
    return call_forward(x, p->sample_weight, p->sample_a, terms.f, terms.weight, terms.a, terms.b,
                        p->normalize);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    const variable_list saved = ctx->get_saved_variables();
    SharedRowsParameters p = saved_rows_parameters(ctx);
    const size_t count = p->of_terms->weight.size();
    std::vector<size_t> keep;
    variable_list x;
    for (size_t k = 0; k < count; ++k) {
      if (!ctx->needs_input_grad(k)) continue;
      keep.push_back(k);
      x.push_back(saved[k]);
    }
    variable_list grads(count + 1);  // x..., parameters
    if (keep.empty() || !grad[0].defined()) return grads;
    if (keep.size() < count) p = p->select(keep);
    const Parameters& terms = *p->of_terms;
    const std::vector<Tensor> dx = call_backward(grad[0], x, p->sample_weight, p->sample_a, terms.f,
                                                 terms.weight, terms.a, terms.b, p->normalize);
    for (size_t i = 0; i < keep.size(); ++i) grads[keep[i]] = dx[i];
    return grads;
  }
};

SharedRowsParameters shared(const OfSamples& sample_weight, const OfSamples& sample_a,
                            std::string_view f, Floats weight, Floats a, Floats b, bool normalize) {
  return c10::make_intrusive<RowsParameters>(c10::make_intrusive<Parameters>(f, weight, a, b),
                                             sample_weight, sample_a, normalize);
}

// Where no graph is recorded, as in most backward passes, a node would only cost time.

Tensor forward_autograd(TensorList x, const OfSamples& sample_weight, const OfSamples& sample_a,
                        std::string_view f, Floats weight, Floats a, Floats b, bool normalize) {
  if (!at::GradMode::is_enabled()) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_forward(x, sample_weight, sample_a, f, weight, a, b, normalize);
  }
  return Forward::apply(x, shared(sample_weight, sample_a, f, weight, a, b, normalize));
}

std::vector<Tensor> backward_autograd(const Tensor& grad, TensorList x,
                                      const OfSamples& sample_weight, const OfSamples& sample_a,
                                      std::string_view f, Floats weight, Floats a, Floats b,
                                      bool normalize) {
  if (!at::GradMode::is_enabled()) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_backward(grad, x, sample_weight, sample_a, f, weight, a, b, normalize);
  }
  return Backward::apply(grad, x, shared(sample_weight, sample_a, f, weight, a, b, normalize));
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_autograd(
    const Tensor& grad, TensorList x, TensorList v, const OfSamples& sample_weight,
    const OfSamples& sample_a, std::string_view f, Floats weight, Floats a, Floats b,
    bool normalize) {
  variable_list out = DoubleBackward::apply(
      grad, x, v, shared(sample_weight, sample_a, f, weight, a, b, normalize));
  const Tensor dgrad = out.front();
  out.erase(out.begin());
  return {dgrad, std::move(out)};
}

}  // namespace

#define GANFAST_UNARY_ROWS_OPS(op)                          \
  op(unary_rows, forward) op(unary_rows_backward, backward) \
      op(unary_rows_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_UNARY_ROWS_OPS)

}  // namespace ganfast
