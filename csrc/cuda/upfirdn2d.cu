// upfirdn2d on CUDA: a thread for each element of the result, which sums the taps that fall on
// pixels. The factors and the filter that StyleGAN uses most are known when it is compiled.
#include "../ops/upfirdn2d.h"

#include <algorithm>

#include "reduce.cuh"

namespace ganfast::cuda {
namespace {

constexpr int kEach = 4;  // elements of a thread

// What a thread needs to know of one axis; known numbers are those of the template, or 0.
template <int kUp, int kDown, int kTaps>
struct Axis {
  int any_up, any_down, any_taps, pad, size;

  __device__ int up() const { return kUp > 0 ? kUp : any_up; }
  __device__ int down() const { return kDown > 0 ? kDown : any_down; }
  __device__ int taps() const { return kTaps > 0 ? kTaps : any_taps; }

  // Calls body(tap, pixel) for those of output `at` that fall on pixels.
  template <class Body>
  __device__ void for_each_tap(int at, Body body) const {
    const int place = at * down() - pad;
    // The first tap on a pixel, or where one would be beyond the edge.
    const int over = place % up();
    const int first = over > 0 ? up() - over : -over;
    int pixel = (place + first) / up();
    GANFAST_UNROLL
    for (int tap = first; tap < taps(); tap += up(), ++pixel)
      if (pixel >= 0 && pixel < size) body(tap, pixel);
  }
};

template <class T, int kUp, int kDown, int kTaps>
__global__ void __launch_bounds__(kThreads)
    upfirdn2d_kernel(const __grid_constant__ UpfirdnShape shape, const T* x, const float* filter,
                     T* y) {
  using C = Compute<T>;
  using Along = Axis<kUp, kDown, kTaps>;
  const Along rows{shape.up_y, shape.down_y, shape.filter_height, shape.pad_y, shape.height};
  const Along columns{shape.up_x, shape.down_x, shape.filter_width, shape.pad_x, shape.width};
  const unsigned group = static_cast<unsigned>(shape.group), width = shape.out_width * group;
  const unsigned height = shape.out_height;
  const int64_t n = shape.planes * height * width, step = int64_t(gridDim.x) * kThreads * kEach;
  const int64_t pixels = int64_t(shape.height) * shape.width * group;
  for (int64_t begin = int64_t(blockIdx.x) * kThreads * kEach; begin < n; begin += step) {
    // Divisions in 64 bits for the block alone.
    const int64_t first_row = begin / width, plane = first_row / height;
    const unsigned offset = static_cast<unsigned>(begin - first_row * width);
    const unsigned row = static_cast<unsigned>(first_row - plane * height);
    for (int k = 0; k < kEach; ++k) {
      const unsigned ahead = k * kThreads + threadIdx.x;
      if (begin + ahead >= n) break;
      const unsigned down = (offset + ahead) / width, inside = offset + ahead - down * width;
      const unsigned over = (row + down) / height;
      const int h = static_cast<int>(row + down - over * height);
      const int w = static_cast<int>(inside / group);
      const T* const from = x + (plane + over) * pixels + (inside - w * group);
      C sum = 0;
      rows.for_each_tap(h, [&](int ky, int of_y) {
        const T* const of_row = from + int64_t(of_y) * shape.width * group;
        columns.for_each_tap(w, [&](int kx, int of_x) {
          sum += C(filter[shape.tap(ky, kx)]) * load(of_row[int64_t(of_x) * group]);
        });
      });
      store(y[begin + ahead], static_cast<C>(shape.gain) * sum);
    }
  }
}

}  // namespace

void upfirdn2d(DType dtype, const UpfirdnShape& shape, const void* x, const float* filter, void* y,
               const Workspace& workspace) {
  const auto stream = static_cast<cudaStream_t>(workspace.stream);
  const int64_t n = shape.planes * shape.out_height * shape.out_width * shape.group;
  const int64_t blocks = (n + kThreads * kEach - 1) / (kThreads * kEach);
  const auto is = [&](int up, int down) {
    return shape.up_x == up && shape.up_y == up && shape.down_x == down && shape.down_y == down &&
           shape.filter_height == 4 && shape.filter_width == 4;
  };
  with_dtype(dtype, [&]<class T>() {
    const auto kernel = is(2, 1)   ? upfirdn2d_kernel<T, 2, 1, 4>
                        : is(1, 2) ? upfirdn2d_kernel<T, 1, 2, 4>
                        : is(1, 1) ? upfirdn2d_kernel<T, 1, 1, 4>
                                   : upfirdn2d_kernel<T, 0, 0, 0>;
    launch("upfirdn2d", kernel, static_cast<int>(std::min<int64_t>(blocks, int64_t(1) << 20)),
           kThreads, stream, shape, static_cast<const T*>(x), filter, static_cast<T*>(y));
  });
}

}  // namespace ganfast::cuda
