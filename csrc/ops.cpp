// Table of contents: the schema of every op, and what this library was built from.
//
//   x, y    tensors of one dtype and device, of any shapes and strides
//   weight  w_k, one number for each tensor
//   grad    gradient with respect to the result
//   wanted  the gradients to return, as places among x... y...
//   v       cotangents of the first-order gradients at the places `given`; the gradient in grad
//           comes first in what a double backward returns
#include "ops/python.h"

#ifdef __clang__
#define GANFAST_COMPILER __VERSION__
#else
#define GANFAST_COMPILER "GCC " __VERSION__
#endif

#ifndef GANFAST_CUDA_ARCHS
#define GANFAST_CUDA_ARCHS ""
#endif

// Arguments that all orders of flat and of rows share.
#define GANFAST_OF_FLAT "str f, float[] weight, float[] a, float[] b"
#define GANFAST_OF_ROWS \
  "Tensor?[] sample_weight, Tensor?[] sample_a, " GANFAST_OF_FLAT ", bool normalize, bool pixel"

TORCH_LIBRARY(ganfast, m) {
  // sum_k w_k * mean_i f(x_ki - y_ki; a_k, b_k), for the functors of math/functors.h, or with
  // per_term its terms; y is empty, or each y_k like x_k, or with broadcast each one number. With a
  // threshold also, for each tensor, w_k * mean f, mean x, the shares of x above and below it.
  m.def("flat(Tensor[] x, Tensor[] y, " GANFAST_OF_FLAT
        ", bool per_term, float? threshold, bool broadcast=True) -> Tensor[]");
  m.def("flat_backward(Tensor grad, Tensor[] x, Tensor[] y, " GANFAST_OF_FLAT
        ", int[] wanted) -> Tensor[]");
  m.def("flat_double_backward(Tensor grad, Tensor[] x, Tensor[] y, Tensor[] v, " GANFAST_OF_FLAT
        ", int[] given, int[] wanted) -> Tensor[]");

  // For each sample p, or with pixel for each pixel of a sample,
  //   s_p = sum_k w_k * s_kp * mean_j f(x_kpj - y_kpj; a_k, b_k)
  // where the s_k are ones unless sample_weight holds them, and with normalize are divided by their
  // mean (a sum of 0 counts as 1); what sample_a holds replaces a_k by a number for each sample.
  // With a phi of math/phi.h other than identity: of_phi = (weight, a, b),
  // weight * mean_p phi(s_p; a, b), and its first two derivatives in each s_p.
  m.def("rows(Tensor[] x, Tensor[] y, " GANFAST_OF_ROWS ", str phi, float[] of_phi) -> Tensor[]");
  m.def("rows_backward(Tensor grad, Tensor[] x, Tensor[] y, Tensor? derivatives, " GANFAST_OF_ROWS
        ", int[] wanted) -> Tensor[]");
  m.def(
      "rows_double_backward(Tensor grad, Tensor[] x, Tensor[] y, Tensor[] v, "
      "Tensor? derivatives, " GANFAST_OF_ROWS ", int[] given, int[] wanted) -> Tensor[]");

  // The affine map of math/augment.h on each sample of x (samples, channels, height, width), with
  // the numbers u drawn for it, and its linear part or the adjoint of that
  m.def("augment(Tensor x, Tensor u, bool color, bool translation, bool cutout) -> Tensor");
  m.def(
      "augment_linear(Tensor x, Tensor u, bool color, bool translation, bool cutout, "
      "bool adjoint) -> Tensor");

  // y = clip(gain * act(x + b), -clamp, clamp) with one number of b for each place of the dimension
  // dim; gradients by way of what is saved: y, or for swish and a negative alpha x and b. The
  // backward returns dx, and with bias db. The double backward takes the cotangents v and c of
  // these, and returns the gradient in the backward's grad; where f'' is not zero and grad is
  // given, then those in saved and in b.
  m.def(
      "bias_act(Tensor x, Tensor? b, int dim, str act, float alpha, float gain, float? clamp) -> "
      "Tensor");
  m.def(
      "bias_act_backward(Tensor grad, Tensor saved, Tensor? b, int dim, str act, float alpha, "
      "float gain, float? clamp, bool bias) -> Tensor[]");
  m.def(
      "bias_act_double_backward(Tensor? grad, Tensor saved, Tensor? b, Tensor? v, Tensor? c, "
      "int dim, str act, float alpha, float gain, float? clamp) -> Tensor[]");

  // y = clip(gain * lrelu(x), -clamp, clamp) of images, with the mask of math/lrelu_mask.h in the
  // order of memory; and v times the slopes of a mask, which is of images in one of two layouts
  m.def("lrelu_mask(Tensor x, float alpha, float gain, float? clamp) -> (Tensor y, Tensor mask)");
  m.def(
      "lrelu_masked(Tensor v, Tensor mask, bool channels_last, float alpha, float gain) -> Tensor");

  // x (samples, channels, height, width), with zeros between its pixels and around it, filtered by
  // f (height, width), every so manyth pixel of that; up and down are (x, y), padding is (left,
  // right, top, bottom), see ops/upfirdn2d.h
  m.def(
      "upfirdn2d(Tensor x, Tensor f, int[] up, int[] down, int[] padding, bool flip, float gain) "
      "-> Tensor");

  // out = max(weight * x + bias, lower), by channel: a convolution of float32 images whose channels
  // are side by side, with the weights as ganfast/features/packed.py lays them out
  m.def(
      "convolution_(Tensor(a!) out, Tensor x, Tensor weight, Tensor bias, Tensor lower, "
      "int[] kernel, int stride, int[] padding, int[] tile) -> ()");
}

PYBIND11_MODULE(_C, m) {
  using namespace ganfast;
  m.doc() = "The compiled kernels of ganfast; the ops are in torch.ops.ganfast.";
  const auto build_info = [] {
    return pybind11::dict(pybind11::arg("compiler") = GANFAST_COMPILER,
                          pybind11::arg("cuda_archs") = GANFAST_CUDA_ARCHS);
  };
  m.def("build_info", build_info, "What this library was compiled from and for.");
  python::define<variable_list(TensorList, TensorList, std::string_view, Floats, Floats, Floats,
                               bool, std::optional<double>, bool)>(m, "flat");
  python::define<variable_list(TensorList, TensorList, const OfSamples&, const OfSamples&,
                               std::string_view, Floats, Floats, Floats, bool, bool,
                               std::string_view, Floats)>(m, "rows");
}
