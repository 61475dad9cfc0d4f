"""Feature nets under CUDA graphs against the same without."""

import torch

from ganfast.features import load
from ganfast.features.graphed import Graphed
from ganfast.features.inception import Inception
from tests.features import public_inception
from tests.numerics import generator


def test_digits_replayed():
    images = torch.randint(0, 256, (70, 1, 28, 28), generator=generator(0)).to(torch.uint8)
    plain, graphed = (load("digits", device="cuda", graphs=graphs) for graphs in (False, True))
    kept = []
    for start in (0, 20, 40, 60):  # as it is, captured, replayed; the last one is smaller
        batch = images[start : start + 20]
        for layer, want in plain(batch, ("features", "logits")).items():
            found = graphed(batch, ("features", "logits"))[layer]
            kept.append((found, want))
    for found, want in kept:  # what came first is not written over by what came later
        torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)


def test_inception_replayed():
    net = Inception()
    net.load_public(public_inception.random_state())
    net = net.cuda().to(memory_format=torch.channels_last)
    graphed = Graphed(net)
    with torch.inference_mode():
        for seed in range(3):
            x = torch.rand(2, 3, 75, 75, generator=generator(seed)).cuda()
            want, found = net(x, ("2048", "logits")), graphed(x, ("2048", "logits"))
            for layer, value in want.items():
                torch.testing.assert_close(found[layer], value, rtol=1e-4, atol=1e-4)
