// What the CPU kernel of convolution offers to its op: raw pointers, no torch.
#pragma once

#include <cstdint>

namespace ganfast {

// Images with their channels side by side: element (n, y, x, c) is at data[(n h + y) w + x) pixel +
// c].
struct Image {
  int64_t images, height, width, channels;
  int64_t pixel;  // floats from one pixel to the next
};

struct Window {
  int64_t height, width, stride, pad_y, pad_x;
};

constexpr int64_t kPanel = 16;  // channels of the result that one pass computes

namespace cpu {

// Are there the instructions that the kernel is written for, and none that oneDNN makes more of?
bool convolution_serves();

// y = max(w * x + bias, lower), by channel; weights (panels, taps, x.channels, kPanel), bias and
// lower (panels, kPanel).
void convolution(const Image& of_x, const float* x, const Image& of_y, float* y,
                 const Window& window, const float* weight, const float* bias, const float* lower);

// The numbers that a tile of the result, of so many pixels, is computed from; 0 where that is not
// implemented.
int64_t winograd_numbers(const Window& window, int64_t out_height, int64_t out_width);

// The same by Winograd's minimal filtering, for x.channels a multiple of 8; weights (numbers,
// panels, x.channels, kPanel).
void convolution_winograd(const Image& of_x, const float* x, const Image& of_y, float* y,
                          const Window& window, int64_t out_height, int64_t out_width,
                          const float* weight, const float* bias, const float* lower);

}  // namespace cpu
}  // namespace ganfast
