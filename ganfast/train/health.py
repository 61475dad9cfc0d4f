"""Signs of divergence in the metrics of a run."""

from typing import Any

from ganfast.train.journal import Record

STRIKES = 5  # bad records in a row that mean divergence
_WON = 0.01  # upper bound of D(G(z)) and of 1 - D(x)
_COLLAPSED = 0.05  # share of the diversity of real images


class Health:
    """Count the records in a row that show an overpowering discriminator or a collapsed generator.

    The discriminator wins outright if D(x) > 0.99 and D(G(z)) < 0.01 (``d_real`` and ``d_fake``).
    The generator has collapsed if ``diversity`` (of pixels) or ``feature_diversity`` (of a score's
    features) is below 0.05 of that of real images after having been above: a generator that has
    only begun is not diverse yet.

    Args:
        probabilities: the discriminator's outputs are logits or probabilities. A Wasserstein
            critic's are neither, and it is meant to make their differences large.
    """

    def __init__(self, probabilities: bool = True) -> None:
        self.probabilities = probabilities
        self.strikes: dict[str, int] = {}
        self.diverse: list[str] = []  # metrics that have been above the threshold

    def state_dict(self) -> dict[str, Any]:
        return {"strikes": dict(self.strikes), "diverse": list(self.diverse)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.strikes, self.diverse = dict(state["strikes"]), list(state["diverse"])

    def check(self, record: Record) -> str | None:
        """Return a description of what has been wrong for ``STRIKES`` records, or None."""
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
                found = words if count >= STRIKES else found
        return found
