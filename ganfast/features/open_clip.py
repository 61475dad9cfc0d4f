"""CLIP's image towers from the ``open_clip`` package (an optional extra)."""

from pathlib import Path

from torch import Tensor, nn

# The architecture, and the repository of OpenAI's weights, of each name.
MODELS = {
    "clip_vitb32": ("ViT-B-32-quickgelu", "timm/vit_base_patch32_clip_224.openai"),
    "clip_vitl14_336": ("ViT-L-14-336-quickgelu", "timm/vit_large_patch14_clip_336.openai"),
}
_FILE = "open_clip_model.safetensors"


class Tower(nn.Module):
    """Maps normalised images to the embeddings that CLIP compares with those of texts."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, x: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        return {"features": self.visual(x)}


def load(name: str, download: bool) -> tuple[nn.Module, str]:
    """Return the tower of one of `MODELS`, and a text that identifies its weights."""
    import open_clip

    architecture, repository = MODELS[name]
    path = weights(repository, download)
    net = open_clip.create_model(architecture, pretrained=str(path))
    # In the cache a file lies in a folder named after its commit.
    return Tower(net.visual), f"open_clip {path.parent.name}"


def weights(repository: str, download: bool) -> Path:
    """Return the file of weights in Hugging Face's cache; FileNotFoundError says how to get it."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, _FILE, local_files_only=not download))
    except OSError as error:
        raise FileNotFoundError(
            f"the model {repository} is not in the cache of Hugging Face; "
            f"`hf download {repository} {_FILE}` or --download puts it there"
        ) from error
