// rows: s_p = sum_k w_k * s_kp * mean_j f(x_kpj - y_kpj; a_kp, b_k), or the mean or maximum of
// phi(s_p), its gradient and its second gradient.
//
// With a phi, the forward also returns the first two derivatives of the result in each s_p. They
// are all that the other orders need to know of phi.
#include "rows.h"

#include "autograd.h"
#include "names.h"

namespace ganfast {
namespace {

using OfSamples = c10::List<std::optional<Tensor>>;

// Arguments that all orders share, by the schema.
#define GANFAST_ROWS                                                                            \
  const OfSamples &sample_weight, const OfSamples &sample_a, std::string_view f, Floats weight, \
      Floats a, Floats b, bool normalize, bool pixel

void check_samples(const char* name, const OfSamples& numbers, TensorList x) {
  TORCH_CHECK_VALUE(numbers.empty() || numbers.size() == x.size(), name,
                    " must be empty or have one entry for each of the ", x.size(), " tensors, got ",
                    numbers.size());
  for (size_t k = 0; k < numbers.size(); ++k) {
    const std::optional<Tensor> of_samples = numbers[k];
    if (!of_samples) continue;
    check_like(name, k, *of_samples, x[0], loss_dtype(x[0]));
    TORCH_CHECK_VALUE(of_samples->dim() == 1 && of_samples->sym_size(0) == x[0].sym_size(0), name,
                      "[", k, "] must have one number for each of the ", x[0].sym_size(0),
                      " samples, got shape ", of_samples->sym_sizes());
  }
}

bool holds(const OfSamples& numbers) {
  for (const std::optional<Tensor> of_samples : numbers)
    if (of_samples) return true;
  return false;
}

Functor check(TensorList x, TensorList y, GANFAST_ROWS) {
  check_list("x", x);
  check_parameters(x.size(), weight, a, b);
  const Functor functor = functor_named(f);
  const int64_t least = pixel ? 2 : 1;
  const auto first = x[0].sym_sizes();
  for (size_t k = 0; k < x.size(); ++k) {
    const auto shape = x[k].sym_sizes();
    TORCH_CHECK_VALUE(x[k].dim() >= least, "x[", k, "] must have at least ", least,
                      pixel ? " axes, of samples and channels" : " axis, of samples",
                      ", got shape ", shape);
    TORCH_CHECK_VALUE(shape[0] == first[0], "x[", k, "] must have ", first[0],
                      " samples, as x[0], got shape ", shape);
    TORCH_CHECK_VALUE(!pixel || (shape.size() == first.size() && shape.slice(2) == first.slice(2)),
                      "x[", k, "] must have shape ", first, " but for the channels, got ", shape);
  }
  check_samples("sample_weight", sample_weight, x);
  check_samples("sample_a", sample_a, x);
  TORCH_CHECK_VALUE(!pixel || (functor == Functor::square && y.empty() && !holds(sample_weight) &&
                               !holds(sample_a)),
                    "pixel must be False but for square of x alone");
  TORCH_CHECK_VALUE(y.empty() || y.size() == x.size(),
                    "y must be empty or have one for each of the ", x.size(), " tensors, got ",
                    y.size());
  if (!y.empty()) check_takes_differences(functor, f);
  for (size_t k = 0; k < y.size(); ++k) {
    check_like("y", k, y[k], x[k], x[k].scalar_type());
    check_same_shape("y", k, y[k], x[k]);
  }
  return functor;
}

RowsPhi check_phi(std::string_view phi, Floats numbers, TensorList y, const OfSamples& sample_a,
                  std::string_view f, Floats a, bool pixel) {
  const Phi named = phi_named(phi);
  if (named == Phi::identity) return {named, 1, 0, 0};
  TORCH_CHECK_VALUE(f == "square" && y.empty() && !holds(sample_a) &&
                        std::all_of(a.begin(), a.end(), [](double ak) { return ak == 0; }),
                    "phi must be identity but for square of x alone, with a = 0, got ", phi);
  TORCH_CHECK_VALUE(numbers.size() == 3, "of_phi must have three numbers, weight, a and b, got ",
                    numbers.size());
  TORCH_CHECK_VALUE(!pixel || named != Phi::maximum,
                    "pixel must be False for maximum, which is over samples");
  return {named, numbers[0], numbers[1], numbers[2]};
}

// The number of positions: samples, or pixels.
c10::SymInt positions(const Tensor& x, bool pixel) {
  return pixel ? x.sym_numel() / x.sym_size(1) : x.sym_size(0);
}

Tensor laid_out(const Tensor& x, bool pixel) {
  return pixel ? x.contiguous() : dense_samples(x);
}

// What the forward returns, not filled.
variable_list empty_results(TensorList x, bool phi, bool pixel) {
  const auto options = x[0].options().dtype(loss_dtype(x[0]));
  const c10::SymInt count = positions(x[0], pixel);
  if (phi) return {at::empty({}, options), at::empty_symint({2, count}, options)};
  return {at::empty_symint({count}, options)};
}

// The list as the kernels read it. Holds what had to be copied for as long as that is in use.
struct Rows {
  std::vector<Tensor> x, y, v, of_samples;
  std::vector<RowsTerm> terms;
  RowsList list;

  Rows(TensorList xs, TensorList ys, GANFAST_ROWS) {
    const Functor functor =
        check(xs, ys, sample_weight, sample_a, f, weight, a, b, normalize, pixel);
    const int64_t outer = xs[0].size(0);
    const int64_t inner = pixel ? xs[0].numel() / outer / xs[0].size(1) : 1;
    list = {functor, dtype_of(xs[0]), !ys.empty(), normalize, outer, inner, {}};
    x.reserve(xs.size());
    terms.reserve(xs.size());
    for (size_t k = 0; k < xs.size(); ++k) {
      x.push_back(laid_out(xs[k], pixel));
      const int64_t size = x[k].numel() / list.positions();
      RowsTerm& term = terms.emplace_back(RowsTerm{.x = x[k].const_data_ptr(),
                                                   .sample_weight = numbers(sample_weight, k),
                                                   .sample_a = numbers(sample_a, k),
                                                   .size = size,
                                                   .weight = weight[k] / size,
                                                   .a = a[k],
                                                   .b = b[k]});
      if (ys.empty()) continue;
      y.push_back(dense_like(ys[k], x[k]));
      term.y = y[k].const_data_ptr();
    }
    list.terms = terms;
  }

  const void* numbers(const OfSamples& samples, size_t k) {
    const std::optional<Tensor> numbers = samples.empty() ? std::nullopt : samples[k];
    if (!numbers) return nullptr;
    of_samples.push_back(numbers->contiguous());
    return of_samples.back().const_data_ptr();
  }

  // Memory for the gradients in the inputs x... y... at some places.
  variable_list want(Places wanted) {
    check_places("wanted", wanted, x.size() + y.size());
    variable_list gradients;
    gradients.reserve(wanted.size());
    for (const size_t place : wanted) {
      RowsTerm& term = terms[place % x.size()];
      gradients.push_back(at::empty_like(x[place % x.size()]));
      (place < x.size() ? term.dx : term.dy) = gradients.back().mutable_data_ptr();
    }
    return gradients;
  }

  // Cotangents of the gradients at some places.
  void take(TensorList cotangents, Places given) {
    check_places("given", given, x.size() + y.size());
    TORCH_CHECK_VALUE(cotangents.size() == given.size(), "v must have one for each of the ",
                      given.size(), " given places, got ", cotangents.size());
    for (size_t i = 0; i < given.size(); ++i) {
      const size_t place = given[i], k = place % x.size();
      check_like("v", i, cotangents[i], x[k], x[k].scalar_type());
      check_same_shape("v", i, cotangents[i], x[k]);
      v.push_back(dense_like(cotangents[i], x[k]));
      (place < x.size() ? terms[k].vx : terms[k].vy) = v.back().const_data_ptr();
    }
  }
};

variable_list forward(TensorList x, TensorList y, GANFAST_ROWS, std::string_view phi,
                      Floats of_phi) {
  const Rows rows(x, y, sample_weight, sample_a, f, weight, a, b, normalize, pixel);
  const RowsPhi of = check_phi(phi, of_phi, y, sample_a, f, a, pixel);
  const bool with_phi = of.phi != Phi::identity;
  const variable_list made = empty_results(x, with_phi, pixel);
  GANFAST_RUN(x[0], rows_forward, rows.list, of, made[0].mutable_data_ptr(),
              with_phi ? made[1].mutable_data_ptr() : nullptr);
  return made;
}

// The gradient that comes back, with equal steps of 0 or 1, as the sum over samples and other ops
// send it; a scalar where there are derivatives of a phi.
struct Gradient {
  Tensor grad, derivatives;
  RowsGrad view;

  Gradient(const Tensor& given, const std::optional<Tensor>& of_phi, TensorList x, bool pixel) {
    check_like("grad", 0, given, x[0], loss_dtype(x[0]));
    const c10::SymInt count = positions(x[0], pixel);
    if (of_phi) {
      derivatives = of_phi->contiguous();
      check_like("derivatives", 0, derivatives, x[0], loss_dtype(x[0]));
      TORCH_CHECK_VALUE(derivatives.dim() == 2 && derivatives.sym_size(0) == 2 &&
                            derivatives.sym_size(1) == count,
                        "derivatives must have shape [2, ", count, "], got ",
                        derivatives.sym_sizes());
      TORCH_CHECK_VALUE(given.sym_numel() == 1, "grad must be a scalar, got shape ",
                        given.sym_sizes());
      grad = given;
    } else {
      TORCH_CHECK_VALUE(given.dim() == 1 && given.sym_size(0) == count,
                        "grad must have one number for each of the ", count, " samples, got shape ",
                        given.sym_sizes());
      grad = given.stride(0) == 0 ? given : given.contiguous();
    }
    view = {grad.const_data_ptr(), of_phi ? 0 : grad.stride(0),
            of_phi ? derivatives.const_data_ptr() : nullptr};
  }
};

variable_list backward(const Tensor& grad, TensorList x, TensorList y,
                       const std::optional<Tensor>& derivatives, GANFAST_ROWS, Places wanted) {
  Rows rows(x, y, sample_weight, sample_a, f, weight, a, b, normalize, pixel);
  const Gradient outer(grad, derivatives, x, pixel);
  variable_list gradients = rows.want(wanted);
  GANFAST_RUN(x[0], rows_backward, rows.list, outer.view);
  return gradients;
}

variable_list double_backward(const Tensor& grad, TensorList x, TensorList y, TensorList v,
                              const std::optional<Tensor>& derivatives, GANFAST_ROWS, Places given,
                              Places wanted) {
  Rows rows(x, y, sample_weight, sample_a, f, weight, a, b, normalize, pixel);
  const Gradient outer(grad, derivatives, x, pixel);
  rows.take(v, given);
  variable_list made = rows.want(wanted);
  made.insert(made.begin(), at::empty(grad.sizes(), grad.options()));
  GANFAST_RUN(x[0], rows_double_backward, rows.list, outer.view, made[0].mutable_data_ptr());
  return made;
}

// Shapes alone, for tracing.

variable_list forward_meta(TensorList x, TensorList y, GANFAST_ROWS, std::string_view phi,
                           Floats of_phi) {
  check(x, y, sample_weight, sample_a, f, weight, a, b, normalize, pixel);
  const RowsPhi of = check_phi(phi, of_phi, y, sample_a, f, a, pixel);
  return empty_results(x, of.phi != Phi::identity, pixel);
}

variable_list backward_meta(const Tensor&, TensorList x, TensorList, const std::optional<Tensor>&,
                            GANFAST_ROWS, Places wanted) {
  variable_list gradients;
  for (const size_t place : wanted)
    gradients.push_back(at::empty_like(laid_out(x[place % x.size()], pixel)));
  return gradients;
}

variable_list double_backward_meta(const Tensor& grad, TensorList x, TensorList y, TensorList,
                                   const std::optional<Tensor>& derivatives, GANFAST_ROWS, Places,
                                   Places wanted) {
  variable_list made = backward_meta(grad, x, y, derivatives, sample_weight, sample_a, f, weight, a,
                                     b, normalize, pixel, wanted);
  made.insert(made.begin(), at::empty_symint(grad.sym_sizes(), grad.options()));
  return made;
}

// Autograd.

struct Call : ListCall {
  size_t terms;
  OfSamples sample_weight, sample_a;
  std::string f;
  std::vector<double> weight, a, b;
  bool normalize, pixel;
  std::optional<Tensor> derivatives;  // of a phi, once they are known

  Call(size_t terms, const std::optional<Tensor>& derivatives, GANFAST_ROWS)
      : terms(terms),
        sample_weight(sample_weight),
        sample_a(sample_a),
        f(f),
        weight(weight.vec()),
        a(a.vec()),
        b(b.vec()),
        normalize(normalize),
        pixel(pixel),
        derivatives(derivatives) {}

  const char* name() const override { return "rows"; }

  variable_list constants() const override {
    variable_list all;
    for (const OfSamples* list : {&sample_weight, &sample_a}) {
      for (const std::optional<Tensor> numbers : *list)
        if (numbers) all.push_back(*numbers);
    }
    return all;
  }

  variable_list first(const Tensor& grad, TensorList inputs, Places wanted) const override {
    static const auto handle = op<decltype(backward)>("ganfast::rows_backward");
    return handle.call(grad, inputs.slice(0, terms), inputs.slice(terms), derivatives,
                       sample_weight, sample_a, f, weight, a, b, normalize, pixel, wanted);
  }

  variable_list second(const Tensor& grad, TensorList inputs, TensorList v, Places given,
                       Places wanted) const override {
    static const auto handle = op<decltype(double_backward)>("ganfast::rows_double_backward");
    return handle.call(grad, inputs.slice(0, terms), inputs.slice(terms), v, derivatives,
                       sample_weight, sample_a, f, weight, a, b, normalize, pixel, given, wanted);
  }
};

variable_list both(TensorList x, TensorList y) {
  variable_list inputs = x.vec();
  inputs.insert(inputs.end(), y.begin(), y.end());
  return inputs;
}

variable_list forward_autograd(TensorList x, TensorList y, GANFAST_ROWS, std::string_view phi,
                               Floats of_phi) {
  static const auto handle = op<decltype(forward)>("ganfast::rows");
  const auto make = [&] {
    return handle.call(x, y, sample_weight, sample_a, f, weight, a, b, normalize, pixel, phi,
                       of_phi);
  };
  if (!records(x) && !records(y)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return make();
  }
  const auto of = c10::make_intrusive<Call>(x.size(), std::nullopt, sample_weight, sample_a, f,
                                            weight, a, b, normalize, pixel);
  return with_graph(both(x, y), of, [&] {
    variable_list made = make();
    if (phi != "identity") of->derivatives = made[1];
    return made;
  });
}

variable_list backward_autograd(const Tensor& grad, TensorList x, TensorList y,
                                const std::optional<Tensor>& derivatives, GANFAST_ROWS,
                                Places wanted) {
  const auto of = c10::make_intrusive<Call>(x.size(), derivatives, sample_weight, sample_a, f,
                                            weight, a, b, normalize, pixel);
  if (!records(grad) && !records(x) && !records(y)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return of->first(grad, both(x, y), wanted);
  }
  return first_with_graph(grad, both(x, y), of, wanted);
}

variable_list double_backward_autograd(const Tensor& grad, TensorList x, TensorList y, TensorList v,
                                       const std::optional<Tensor>& derivatives, GANFAST_ROWS,
                                       Places given, Places wanted) {
  const auto of = c10::make_intrusive<Call>(x.size(), derivatives, sample_weight, sample_a, f,
                                            weight, a, b, normalize, pixel);
  return second_with_graph(grad, both(x, y), v, of, given, wanted);
}

}  // namespace

#define GANFAST_ROWS_OPS(op) \
  op(rows, forward) op(rows_backward, backward) op(rows_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_ROWS_OPS)

}  // namespace ganfast
