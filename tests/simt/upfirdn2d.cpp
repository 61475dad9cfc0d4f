// The kernels of cuda/upfirdn2d.cu against the definition: zeros between the pixels, padding,
// every tap, every so manyth pixel.
#include "../../csrc/cuda/upfirdn2d.cu"

#include <vector>

#include "arrays.h"
#include "check.h"
#include "scratch.h"

namespace ganfast::test {
namespace {

struct Case {
  int height, width, up_x, up_y, down_x, down_y, left, right, top, bottom, rows, columns;
};

template <class T>
void compare(const Case& c, int64_t planes, int64_t group, bool flip, const std::string& what) {
  const int tall = c.height * c.up_y + c.top + c.bottom, wide = c.width * c.up_x + c.left + c.right;
  const UpfirdnShape shape{planes,
                           group,
                           c.height,
                           c.width,
                           (tall - c.rows) / c.down_y + 1,
                           (wide - c.columns) / c.down_x + 1,
                           c.up_x,
                           c.up_y,
                           c.down_x,
                           c.down_y,
                           c.left,
                           c.top,
                           c.rows,
                           c.columns,
                           flip,
                           1.5};
  Array<T> x(planes * c.height * c.width * group, 1);
  Array<T> y(planes * shape.out_height * shape.out_width * group, 0);
  std::vector<float> filter(c.rows * c.columns);
  for (int64_t i = 0; i < x.n; ++i) store(x.data[i], static_cast<Compute<T>>(uniform(-1, 1)));
  for (float& tap : filter) tap = static_cast<float>(uniform(-1, 1));
  Scratch scratch;
  cuda::upfirdn2d(kDType<T>, shape, x.data, filter.data(), y.data, scratch);

  for (int64_t plane = 0; plane < planes; ++plane) {
    for (int64_t channel = 0; channel < group; ++channel) {
      const auto pixel = [&](int h, int w) -> double {  // of the padded image
        h -= c.top, w -= c.left;
        if (h < 0 || w < 0 || h % c.up_y || w % c.up_x) return 0;
        h /= c.up_y, w /= c.up_x;
        if (h >= c.height || w >= c.width) return 0;
        return load(x.data[((plane * c.height + h) * c.width + w) * group + channel]);
      };
      for (int h = 0; h < shape.out_height; ++h) {
        for (int w = 0; w < shape.out_width; ++w) {
          Total sum;
          for (int k = 0; k < c.rows; ++k)
            for (int l = 0; l < c.columns; ++l) {
              const int row = flip ? k : c.rows - 1 - k, column = flip ? l : c.columns - 1 - l;
              sum.add(1.5 * filter[row * c.columns + column] *
                      pixel(h * c.down_y + k, w * c.down_x + l));
            }
          const int64_t at = ((plane * shape.out_height + h) * shape.out_width + w) * group;
          check_close(what, load(y.data[at + channel]), double(sum.value), 2 * kStored<T>,
                      double(sum.scale));
        }
      }
    }
  }
}

template <class T>
void compare_dtype(const std::string& name) {
  const Case cases[] = {
      {5, 7, 2, 2, 1, 1, 2, 1, 2, 1, 4, 4},   {6, 9, 1, 1, 2, 2, 1, 1, 1, 1, 4, 4},
      {5, 4, 1, 1, 1, 1, 2, 2, 1, 2, 4, 4},   {7, 5, 3, 2, 2, 3, 4, -2, -3, 5, 5, 3},
      {4, 6, 1, 4, 3, 1, -1, -1, 2, 0, 1, 2}, {2, 2, 2, 2, 1, 1, 9, 9, -1, 9, 4, 4},
  };
  for (const Case& c : cases) {
    compare<T>(c, 3, 1, false, name);
    compare<T>(c, 2, 3, true, name + " side by side");
  }
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
  test::compare_dtype<double>("float64");
  test::compare_dtype<float>("float32");
  test::compare_dtype<Float16>("float16");
  test::compare_dtype<BFloat16>("bfloat16");
  return test::report();
}
