"""ADA's items against their definitions, the resampling against plain sums, and gradients."""

import importlib
import math
from collections.abc import Callable

import pytest
import torch
from numerics import generator
from torch import Tensor

from ganfast.augment import Augment, ada

pipe = importlib.import_module("ganfast.augment.ada")  # the module, not the function

N = 20_000
HEIGHT, WIDTH = 40, 24


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=generator(seed)) * 2 - 1


def only(*items: str, count: int = N, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of images to which these items apply and no other."""
    u, n = pipe.draw(count, generator=generator(seed), dtype=torch.float64)
    on = torch.tensor([name in items for name in pipe.ITEMS]).expand(count, -1)
    return on, u, n


def normal(x: Tensor) -> Tensor:
    return torch.special.ndtr(x)


def assert_distributed(values: Tensor, cdf: Callable[[Tensor], Tensor]) -> None:
    """Kolmogorov and Smirnov's test, at one in a thousand."""
    values = values.sort().values
    ranks = (torch.arange(len(values), dtype=torch.float64) + 0.5) / len(values)
    assert float((cdf(values) - ranks).abs().max()) < 1.95 / math.sqrt(len(values))


def test_the_flip_and_the_quarter_turns() -> None:
    matrix, shift = pipe.places(*only("flip"), HEIGHT, WIDTH)
    assert not shift.any()
    flipped = matrix[:, 0, 0] < 0
    expected = torch.eye(2, dtype=torch.float64) * torch.tensor([-1.0, 1.0])
    assert torch.equal(matrix[flipped], expected.expand(int(flipped.sum()), 2, 2))
    assert abs(float(flipped.double().mean()) - 0.5) < 0.02
    matrix, shift = pipe.places(*only("quarter_turn"), HEIGHT, WIDTH)
    angles = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]) / (math.pi / 2)
    quarters, counts = angles.round().remainder(4).unique(return_counts=True)
    assert quarters.tolist() == [0, 1, 2, 3]
    assert (counts / N - 0.25).abs().max() < 0.02
    assert torch.equal(matrix.abs().sum(1), torch.ones(N, 2, dtype=torch.float64))


def test_shifts_are_whole_pixels() -> None:
    matrix, shift = pipe.places(*only("shift"), HEIGHT, WIDTH)
    assert torch.equal(matrix, torch.eye(2, dtype=torch.float64).expand(N, 2, 2))
    for k, (side, most) in enumerate(((WIDTH, 3), (HEIGHT, 5))):
        values, counts = shift[:, k].unique(return_counts=True)
        assert values.tolist() == list(range(-most, most + 1))
        # A uniform number of [-side / 8, side / 8], rounded: half as often at the ends.
        shares = torch.ones(2 * most + 1) / (side / 4)
        shares[[0, -1]] /= 2
        assert (counts / N - shares).abs().max() < 0.015


@pytest.mark.parametrize("item", ["scale", "aspect"])
def test_scale_and_aspect(item: str) -> None:
    matrix, shift = pipe.places(*only(item), HEIGHT, WIDTH)
    assert not shift.any()
    assert not matrix[:, 0, 1].any()
    x, y = -torch.log2(matrix[:, 0, 0]), -torch.log2(matrix[:, 1, 1])  # an image is larger by 2^x
    torch.testing.assert_close(y, x if item == "scale" else -x)
    assert_distributed(x, lambda v: normal(v / 0.2))


@pytest.mark.parametrize("item", ["rotation_before", "rotation_after"])
def test_rotations(item: str) -> None:
    matrix, _ = pipe.places(*only(item), HEIGHT, WIDTH)
    torch.testing.assert_close(matrix.det(), torch.ones(N, dtype=torch.float64))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(2).double().expand(N, 2, 2))
    angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    assert_distributed(angle, lambda v: v / (2 * math.pi) + 0.5)


def test_fractions_of_the_sides() -> None:
    matrix, shift = pipe.places(*only("fraction"), HEIGHT, WIDTH)
    assert torch.equal(matrix, torch.eye(2, dtype=torch.float64).expand(N, 2, 2))
    for k, side in enumerate((WIDTH, HEIGHT)):
        assert_distributed(shift[:, k], lambda v, side=side: normal(v * 8 / side))
    assert abs(float(torch.corrcoef(shift.T)[0, 1])) < 0.03


def test_the_items_of_places_follow_each_other() -> None:
    """All at once against a chain of homogeneous matrices, each the inverse of one move."""
    on, u, n = only(*pipe.ITEMS, count=50, seed=3)
    matrix, shift = pipe.places(on, u, n, HEIGHT, WIDTH)

    def chain(k: int) -> Tensor:
        def of(name: str) -> tuple[Tensor, Tensor]:
            chosen = torch.tensor([[item == name for item in pipe.ITEMS]])
            one = pipe.places(chosen, u[k : k + 1], n[k : k + 1], HEIGHT, WIDTH)
            return one[0][0], one[1][0]

        total = torch.eye(3, dtype=torch.float64)
        for name in pipe.ITEMS[:8]:
            step = torch.eye(3, dtype=torch.float64)
            step[:2, :2], step[:2, 2] = of(name)
            total = total @ step
        return total

    for k in range(50):
        expected = chain(k)
        torch.testing.assert_close(matrix[k], expected[:2, :2])
        torch.testing.assert_close(shift[k], expected[:2, 2])


def test_brightness_contrast_and_inversion() -> None:
    for channels in (1, 3):
        eye = torch.eye(channels, dtype=torch.float64)
        matrix, shift = pipe.colors(*only("brightness"), channels)
        torch.testing.assert_close(matrix, eye.expand(N, -1, -1), atol=1e-12, rtol=0)
        assert torch.equal(shift, shift[:, :1].expand(-1, channels, 1))
        assert_distributed(shift[:, 0, 0], lambda v: normal(v / 0.2))
        matrix, shift = pipe.colors(*only("contrast"), channels)
        assert not shift.any()
        torch.testing.assert_close(matrix, matrix[:, :1, :1] * eye)
        assert_distributed(torch.log2(matrix[:, 0, 0]), lambda v: normal(v / 0.5))
        matrix, _ = pipe.colors(*only("inversion"), channels)
        inverted = matrix.sum((1, 2)) < 0
        assert abs(float(inverted.double().mean()) - 0.5) < 0.02
        # A reflection on the plane of grey 0: grey changes its sign, chroma stays.
        reflection = eye - 2 / channels * torch.ones_like(eye)
        expected = torch.where(inverted[:, None, None], reflection, eye)
        torch.testing.assert_close(matrix, expected)


def test_hue_and_saturation() -> None:
    grey = torch.ones(3, dtype=torch.float64) / math.sqrt(3)
    matrix, _ = pipe.colors(*only("hue"), 3)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3).double().expand(N, 3, 3))
    torch.testing.assert_close(matrix @ grey, grey.expand(N, 3))
    chroma = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64) / math.sqrt(2)
    turned = matrix @ chroma
    angle = torch.atan2(turned @ torch.linalg.cross(grey, chroma), turned @ chroma)
    assert_distributed(angle, lambda v: v / (2 * math.pi) + 0.5)
    matrix, _ = pipe.colors(*only("saturation"), 3)
    torch.testing.assert_close(matrix @ grey, grey.expand(N, 3))
    factor = (matrix @ chroma) @ chroma
    torch.testing.assert_close(matrix @ chroma, factor[:, None] * chroma)
    assert_distributed(torch.log2(factor), normal)
    for item in ("hue", "saturation"):  # grey images have neither
        matrix, shift = pipe.colors(*only(item), 1)
        assert (matrix == 1).all()
        assert not shift.any()


def test_the_items_of_colors_follow_each_other() -> None:
    names = ("brightness", "contrast", "inversion", "hue", "saturation")
    on, u, n = only(*names, count=50, seed=4)
    matrix, shift = pipe.colors(on, u, n, 3)
    total, moved = torch.eye(3, dtype=torch.float64), torch.zeros(50, 3, 1, dtype=torch.float64)
    for name in names:
        chosen = torch.tensor([item == name for item in pipe.ITEMS]).expand(50, -1)
        one, by = pipe.colors(chosen, u, n, 3)
        total, moved = one @ total, one @ moved + by
    torch.testing.assert_close(matrix, total)
    torch.testing.assert_close(shift, moved)


def test_cutout_is_a_box_of_half_the_sides() -> None:
    on, u, _ = only("cutout", count=4000)
    kept = pipe._kept(on, u.float(), 32, 24)
    cut = kept == 0
    rows, columns = cut.any(3).sum(2).flatten(), cut.any(2).sum(2).flatten()
    assert (int(rows.max()), int(columns.max())) == (16, 12)
    # A pixel is cut if the centre is within a quarter of the sides: 1/4 of all in the middle.
    share = cut.double().mean(0)[0]
    assert abs(float(share[16, 12]) - 0.25) < 0.03
    assert abs(float(share[0, 0]) - (0.25 + 0.5 / 32) * (0.25 + 0.5 / 24)) < 0.02


def test_each_item_is_drawn_by_itself() -> None:
    u, _ = pipe.draw(N, generator=generator(1))
    p = torch.tensor(0.4)
    on = pipe.turns(u, p, 1.0, 0.5, 0.25, 0.125).double()
    once = {"rotation_before": 1 - math.sqrt(0.8), "rotation_after": 1 - math.sqrt(0.8)}
    strengths = [1.0] * 3 + [0.5] * 5 + [0.25] * 5 + [0.125]
    expected = [once.get(item, 0.4 * s) for item, s in zip(pipe.ITEMS, strengths, strict=True)]
    assert (on.mean(0) - torch.tensor(expected)).abs().max() < 0.015
    either = on[:, pipe.ITEMS.index("rotation_before")] + on[:, pipe.ITEMS.index("rotation_after")]
    assert abs(float((either > 0).double().mean()) - 0.2) < 0.015
    together = torch.corrcoef(on.T) - torch.eye(len(pipe.ITEMS))
    assert float(together.abs().max()) < 0.035


def plainly(x: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """One channel (H, W) resampled by sums over its mirrored pixels, as the definition says."""
    taps = torch.tensor(pipe.SYM6, dtype=torch.float64)
    taps = taps / taps.sum()
    height, width = x.shape

    def mirrored(i: int, side: int) -> int:
        period = 2 * (side - 1)
        i %= period
        return min(i, period - i)

    def upsampled(j: int, i: int) -> float:
        """The image with zeros between its pixels, filtered: tap 5 is at pixel j / 2."""
        total = 0.0
        for a in range(12):
            for b in range(12):
                row, column = j + 5 - a, i + 5 - b
                if row % 2 == 0 and column % 2 == 0:
                    at = mirrored(row // 2, height), mirrored(column // 2, width)
                    total += 4 * float(taps[a] * taps[b] * x[at])
        return total

    known: dict[tuple[int, int], float] = {}

    def value(place: Tensor) -> float:
        """Interpolation between the four samples around a place in pixels."""
        i, j = 2 * float(place[0]), 2 * float(place[1])
        left, top = math.floor(i), math.floor(j)
        total = 0.0
        for row, wy in ((top, top + 1 - j), (top + 1, j - top)):
            for column, wx in ((left, left + 1 - i), (left + 1, i - left)):
                if (row, column) not in known:
                    known[row, column] = upsampled(row, column)
                total += wx * wy * known[row, column]
        return total

    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    y = torch.zeros_like(x)
    samples: dict[tuple[int, int], float] = {}
    for r in range(height):
        for c in range(width):
            for a in range(12):
                for b in range(12):
                    row, column = 2 * r + a - 5, 2 * c + b - 5
                    if (row, column) not in samples:
                        out = torch.tensor([column / 2, row / 2], dtype=torch.float64) - centre
                        samples[row, column] = value(matrix @ out + shift + centre)
                    y[r, c] += taps[a] * taps[b] * samples[row, column]
    return y


def test_resampling_against_plain_sums() -> None:
    """Within the margin of 3 pixels, where no place is mirrored."""
    x = images(2, 1, 8, 9, seed=5)
    matrix = torch.tensor([[[0.8, 0.05], [-0.1, 0.75]], [[0.95, 0.0], [0.0, -0.9]]]).double()
    shift = torch.tensor([[0.1, -0.1], [-0.1, 0.05]], dtype=torch.float64)
    found = pipe.resampled(x, matrix, shift)
    for k in range(2):
        torch.testing.assert_close(found[k, 0], plainly(x[k, 0], matrix[k], shift[k]))


def test_what_is_outside_is_mirrored_as_often_as_it_takes() -> None:
    ramp = torch.linspace(-1, 1, 16, dtype=torch.float64)
    x = (ramp[:, None] * 0.5 + ramp.square()[None] * 0.25).view(1, 1, 16, 16)
    for pixels in (4, 11, 40):
        shift = torch.tensor([[float(pixels), 0.0]], dtype=torch.float64)
        found = pipe.resampled(x, torch.eye(2).double()[None], shift)
        index = (torch.arange(16) + pixels) % 30
        expected = x[:, :, :, torch.minimum(index, 30 - index)]
        # The filter is not quite symmetric, so mirrored pixels are a little off.
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(3, 1, 7, 7), (2, 3, 16, 9)])
def test_with_probability_0_nothing_changes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = images(*shape).to(dtype)
    y = ada(x, 0.0, cutout=1.0)
    assert y.dtype == dtype
    atol = {torch.float64: 1e-10, torch.float32: 1e-5}.get(dtype, 1e-2)
    torch.testing.assert_close(y, x, atol=atol, rtol=0)


def test_layout_randomness_and_autocast() -> None:
    x = images(4, 3, 12, 10).float()
    first, again = (ada(x, 0.8, cutout=1.0, generator=generator(2)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.is_contiguous()
    assert not torch.equal(first, ada(x, 0.8, cutout=1.0, generator=generator(3)))
    last = x.contiguous(memory_format=torch.channels_last)
    y = ada(last, 0.8, cutout=1.0, generator=generator(2))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, first)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ada(x, 0.8, cutout=1.0, generator=generator(2)), first)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_of_first_and_second_order(channels: int) -> None:
    x = images(2, channels, 7, 8).requires_grad_()

    def augmented(x: Tensor) -> Tensor:
        return ada(x, 0.8, cutout=0.5, generator=generator(6)).square()

    assert torch.autograd.gradcheck(augmented, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(augmented, x, fast_mode=True)


def test_a_penalty_through_the_augmentation_is_that_of_its_matrix() -> None:
    """The augmentation is an affine map of the image: its matrix, column by column."""
    x = images(1, 1, 7, 7)
    weight = images(1, 1, 7, 7, seed=1).requires_grad_()

    def augmented(x: Tensor) -> Tensor:
        return ada(x, 1.0, generator=generator(8))

    zero = augmented(torch.zeros_like(x))
    columns = torch.cat([augmented(e.view_as(x)) - zero for e in torch.eye(49).double()])
    matrix = columns.flatten(1).T
    torch.testing.assert_close(augmented(x).flatten(), matrix @ x.flatten() + zero.flatten())

    def penalty(of: Callable[[Tensor], Tensor]) -> Tensor:
        leaf = x.clone().requires_grad_()
        logit = torch.tanh((of(leaf).flatten() * weight.flatten()).sum())
        (g,) = torch.autograd.grad(logit, leaf, create_graph=True)
        return g.square().sum()

    found = penalty(augmented)
    expected = penalty(lambda leaf: matrix @ leaf.flatten() + zero.flatten())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, weight), torch.autograd.grad(expected, weight)
    )


@pytest.mark.slow
def test_compiled_as_a_trainer_does() -> None:
    torch.compiler.reset()
    compiled = torch.compile(lambda x: ada(x, 0.7).square().sum(), backend="aot_eager")
    x = images(2, 3, 8, 8).requires_grad_()
    torch.manual_seed(3)
    (found,) = torch.autograd.grad(compiled(x), x)
    torch.manual_seed(3)
    torch.testing.assert_close(found, torch.autograd.grad(ada(x, 0.7).square().sum(), x)[0])


@pytest.mark.parametrize("policy", ["ada", "r3gan"])
def test_a_module_with_a_probability(policy: str) -> None:
    x = images(3, 3, 9, 9)
    augment = Augment(policy, p=0.3)
    strengths = {"color": 0.5, "cutout": 1.0} if policy == "r3gan" else {}
    expected = ada(x, torch.tensor(0.3), **strengths, generator=generator(4))
    assert torch.equal(augment(x, generator=generator(4)), expected)
    last = augment(x.permute(0, 2, 3, 1), channels_first=False, generator=generator(4))
    torch.testing.assert_close(last.permute(0, 3, 1, 2), expected)
    augment.p.fill_(0.0)
    torch.testing.assert_close(augment(x), x)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(
        TypeError, match=r"x must be a tensor of floating-point images, got torch.u"
    ):
        ada(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    message = r"\(N, 1 or 3, H, W\) with sides of at least 7, got \[2, {}\]"
    for shape in ("4, 8, 8", "3, 8, 6"):
        with pytest.raises(ValueError, match=message.format(shape)):
            ada(torch.zeros(2, *map(int, shape.split(", "))))
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 1.5"):
        ada(torch.zeros(1, 3, 8, 8), 1.5)
    with pytest.raises(ValueError, match=r"color must be in \[0, 1\], got -1"):
        ada(torch.zeros(1, 3, 8, 8), color=-1)
    with pytest.raises(
        ValueError, match=r"policy must be ada, r3gan, or made of color, trans.*'ad'"
    ):
        Augment("ad")
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 2"):
        Augment("ada", p=2)
