"""The small convolutional classifier of digits that tutorials use."""

from torch import Tensor, nn

from ganfast.models.common import wrong_shape


class Classifier(nn.Module):
    """Map images (N, channels, size, size) to logits (N, classes).

    Two 3 x 3 convolutions, 2 x 2 max pooling, and a hidden layer with dropout before and after it.

    Args:
        classes: number of labels.
        width: channels of the first convolution. The second has twice as many, the hidden layer has
            four times as many units.
        channels, size: channels and side of the images.
        dropout: probabilities of dropout before and after the hidden layer.
    """

    def __init__(
        self,
        classes: int = 10,
        width: int = 32,
        channels: int = 1,
        size: int = 28,
        dropout: tuple[float, float] = (0.25, 0.5),
    ) -> None:
        super().__init__()
        self.shape, self.classes = (channels, size, size), classes
        pooled = (size - 4) // 2
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3),
            nn.MaxPool2d(2),  # commutes with the ReLU and leaves it a quarter of the work
            nn.ReLU(inplace=True),
            nn.Dropout(dropout[0]),
            nn.Flatten(),
            nn.Linear(2 * width * pooled**2, 4 * width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout[1]),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise wrong_shape("images", images, *self.shape)
        logits: Tensor = self.head(self.body(images))
        return logits
