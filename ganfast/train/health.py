"""Whether two networks still train each other."""

from typing import Any

from ganfast.train.log import Record

RECORDS = 5  # in a row that must be ill
_WON = 0.01  # of D(G(z)), and of 1 - D(x)
_COLLAPSED = 0.05  # of the diversity of real images


class Health:
    """Count records in a row in which the discriminator wins outright, or the fakes are all one.

    Where a record has ``d_real`` and ``d_fake``: D(x) > 0.99 and D(G(z)) < 0.01. Where it has
    ``diversity`` (of pixels) or ``feature_diversity`` (of a score's features): below 0.05 of that
    of real images, once it has been above. Before, the generator has only begun.

    Args:
        probabilities: D's outputs are logits or probabilities; those of a Wasserstein critic are
            not, and large differences of them are what it is for.
    """

    def __init__(self, probabilities: bool = True) -> None:
        self.probabilities = probabilities
        self.strikes: dict[str, int] = {}
        self.diverse: list[str] = []  # what has been above its threshold

    def state_dict(self) -> dict[str, Any]:
        return {"strikes": dict(self.strikes), "diverse": list(self.diverse)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.strikes, self.diverse = dict(state["strikes"]), list(state["diverse"])

    def check(self, record: Record) -> str | None:
        """What is wrong, in words, when it has been so for ``RECORDS`` records; else None."""
        signs = []
        if self.probabilities and "d_real" in record:
            real, fake = record["d_real"], record["d_fake"]
            words = f"the discriminator wins outright, D(x) {real:.4f} and D(G(z)) {fake:.4f}"
            signs.append(("d_wins", real > 1 - _WON and fake < _WON, words))
        for name in ("diversity", "feature_diversity"):
            if name in record:
                words = f"the generator has collapsed, its {name} is {record[name]:.3f} of real"
                low = record[name] < _COLLAPSED
                signs.append((name, low and name in self.diverse, words))
                if not low and name not in self.diverse:
                    self.diverse.append(name)
        found = None
        for name, wrong, words in signs:
            count = self.strikes.pop(name, 0) + 1
            if wrong:
                self.strikes[name] = count
                found = words if count >= RECORDS else found
        return found
