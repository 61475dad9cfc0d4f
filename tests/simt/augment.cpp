// The kernels of cuda/augment.cu against DiffAugment's steps, one after the other in float64; the
// adjoint against the transposed matrix of their linear part.
#include "../../csrc/cuda/augment.cu"

#include <vector>

#include "arrays.h"
#include "check.h"
#include "scratch.h"

namespace ganfast::test {
namespace {

using Image = std::vector<double>;  // (channels, height, width)

Image augment_plainly(AugmentPieces pieces, const AugmentShape& shape, const float* u, Image x) {
  const int height = shape.height, width = shape.width, pixels = height * width;
  if (shape.draws == 8 && u[7] >= 0) return x;
  if (pieces.color) {
    double mean = 0;
    for (double& value : x) value += u[0] - 0.5;
    for (int i = 0; i < pixels; ++i) {
      double gray = 0;
      for (int c = 0; c < shape.channels; ++c) gray += x[c * pixels + i] / shape.channels;
      for (int c = 0; c < shape.channels; ++c)
        x[c * pixels + i] = (x[c * pixels + i] - gray) * 2 * u[1] + gray;
    }
    for (double value : x) mean += value / x.size();
    for (double& value : x) value = (value - mean) * (u[2] + 0.5) + mean;
  }
  const auto shift = [](float drawn, int side) {
    const int most = int(side * 0.125 + 0.5);
    return int(std::floor(drawn * (2 * most + 1))) - most;
  };
  if (pieces.translation) {
    const int dh = shift(u[3], height), dw = shift(u[4], width);
    Image moved(x.size(), 0.0);
    for (int c = 0; c < shape.channels; ++c)
      for (int h = std::max(0, -dh); h < std::min(height, height - dh); ++h)
        for (int w = std::max(0, -dw); w < std::min(width, width - dw); ++w)
          moved[c * pixels + h * width + w] = x[c * pixels + (h + dh) * width + w + dw];
    x = moved;
  }
  if (pieces.cutout) {
    const int sizes[2] = {int(height * 0.5 + 0.5), int(width * 0.5 + 0.5)};
    const int top = int(std::floor(u[5] * (height + 1 - sizes[0] % 2))) - sizes[0] / 2;
    const int left = int(std::floor(u[6] * (width + 1 - sizes[1] % 2))) - sizes[1] / 2;
    for (int c = 0; c < shape.channels; ++c)
      for (int h = std::max(0, top); h < std::min(height, top + sizes[0]); ++h)
        for (int w = std::max(0, left); w < std::min(width, left + sizes[1]); ++w)
          x[c * pixels + h * width + w] = 0;
  }
  return x;
}

// The linear part, or its transpose by way of the images of all unit vectors.
Image linear_plainly(bool adjoint, AugmentPieces pieces, const AugmentShape& shape, const float* u,
                     const Image& x) {
  const Image origin = augment_plainly(pieces, shape, u, Image(x.size(), 0.0));
  if (!adjoint) {
    Image y = augment_plainly(pieces, shape, u, x);
    for (size_t i = 0; i < y.size(); ++i) y[i] -= origin[i];
    return y;
  }
  Image y(x.size(), 0.0);
  for (size_t j = 0; j < x.size(); ++j) {
    Image unit(x.size(), 0.0);
    unit[j] = 1;
    const Image column = augment_plainly(pieces, shape, u, unit);
    for (size_t i = 0; i < x.size(); ++i) y[j] += (column[i] - origin[i]) * x[i];
  }
  return y;
}

template <class T>
void compare(AugmentMap map, AugmentPieces pieces, DType dtype, AugmentShape shape,
             const std::string& what) {
  const int64_t n = shape.elements(), pixels = shape.pixels();
  Array<T> x(shape.samples * n, 1), y(shape.samples * n, 0);
  std::vector<float> u(shape.samples * shape.draws);
  for (int64_t i = 0; i < x.n; ++i) store(x.data[i], static_cast<Compute<T>>(uniform(-1, 1)));
  for (float& drawn : u) drawn = std::floor(uniform(0, 1024)) / 1024;
  for (int64_t b = 0; shape.draws == 8 && b < shape.samples; ++b) u[8 * b + 7] = b % 2 ? 0 : -0.25;
  Scratch scratch;
  cuda::augment(map, pieces, dtype, shape, u.data(), x.data, y.data, scratch);

  const auto at = [&](int64_t i) {  // of the i-th element of an Image
    return shape.interleaved ? i % pixels * shape.channels + i / pixels : i;
  };
  for (int64_t b = 0; b < shape.samples; ++b) {
    Image image(n);
    for (int64_t i = 0; i < n; ++i) image[i] = load(x.data[b * n + at(i)]);
    const float* drawn = u.data() + b * shape.draws;
    const Image want = map == AugmentMap::affine ? augment_plainly(pieces, shape, drawn, image)
                                                 : linear_plainly(map == AugmentMap::adjoint,
                                                                  pieces, shape, drawn, image);
    for (int64_t i = 0; i < n; ++i)
      check_close(what, load(y.data[b * n + at(i)]), want[i], 2 * kStored<T>,
                  4 + std::abs(want[i]));
  }
}

template <class T>
void compare_dtype(DType dtype, const std::string& name) {
  for (bool interleaved : {false, true})
    for (AugmentMap map : {AugmentMap::affine, AugmentMap::linear, AugmentMap::adjoint}) {
      compare<T>(map, {true, true, true}, dtype, {2, 3, 8, 7, interleaved, 7}, name);
      compare<T>(map, {true, true, true}, dtype, {3, 1, 9, 8, interleaved, 8}, name + " or not");
    }
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
  test::compare_dtype<double>(DType::float64, "float64");
  test::compare_dtype<float>(DType::float32, "float32");
  test::compare_dtype<Float16>(DType::float16, "float16");
  test::compare_dtype<BFloat16>(DType::bfloat16, "bfloat16");
  for (AugmentMap map : {AugmentMap::affine, AugmentMap::adjoint}) {
    for (int bits = 0; bits < 7; ++bits) {
      test::compare<float>(map, {bool(bits & 1), bool(bits & 2), bool(bits & 4)}, DType::float32,
                           {2, 2, 8, 16, false, 7}, "pieces " + std::to_string(bits));
    }
    test::compare<float>(map, {true, true, true}, DType::float32, {1, 1, 1, 5, false, 7}, "a row");
  }
  // Fewer blocks than pixels would fill, as there are many samples.
  test::compare<float>(AugmentMap::affine, {true, true, true}, DType::float32,
                       {520, 1, 5, 13, false, 7}, "many samples");
  // More blocks of a sample than a block has threads.
  test::compare<float>(AugmentMap::affine, {true, true, true}, DType::float32,
                       {1, 1, 66, 67, false, 7}, "splits");
  return test::report();
}
