"""The networks, each spelled out in the order in which data flows.

The two columns beside the layers are the layer's output size and its receptive field, both in
one number because every map and every field here is square. A test compares them with
what the calculator says. Every network takes images (N, 1, 28, 28) and returns the
logarithms of ten probabilities, (N, 10).

The networks keep the original's layer names and its quirks: which layers have a bias,
which have no ReLU, and whether batch normalization comes before or after it.
"""

from collections import OrderedDict

from torch import nn


class SetupNet(nn.Sequential):
    """Stage 1: a large network that surely works, to get everything around it right."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 32, 3, padding=1),                       # 28x28  3
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, 3, padding=1),                      # 28x28  5
            relu2=nn.ReLU(),
            pool1=nn.MaxPool2d(2, 2),                                   # 14x14  6
            conv3=nn.Conv2d(64, 128, 3, padding=1),                     # 14x14  10
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(128, 256, 3, padding=1),                    # 14x14  14
            relu4=nn.ReLU(),
            pool2=nn.MaxPool2d(2, 2),                                   # 7x7    16
            conv5=nn.Conv2d(256, 512, 3),                               # 5x5    24
            relu5=nn.ReLU(),
            conv6=nn.Conv2d(512, 1024, 3),                              # 3x3    32
            relu6=nn.ReLU(),
            conv7=nn.Conv2d(1024, 10, 3),                               # 1x1    40
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))


class SkeletonNet(nn.Sequential):
    """Stage 2: squeeze and expand, without padding or biases; the shape that later stages keep."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 32, 3, bias=False),                      # 26x26  3
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, 3, bias=False),                     # 24x24  5
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(64, 128, 3, bias=False),                    # 22x22  7
            relu3=nn.ReLU(),
            pool1=nn.MaxPool2d(2, 2),                                   # 11x11  8
            conv4=nn.Conv2d(128, 32, 3, bias=False),                    # 9x9    12
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(32, 64, 3, bias=False),                     # 7x7    16
            relu5=nn.ReLU(),
            conv6=nn.Conv2d(64, 128, 3, bias=False),                    # 5x5    20
            relu6=nn.ReLU(),
            conv7=nn.Conv2d(128, 32, 3, bias=False),                    # 3x3    24
            relu7=nn.ReLU(),
            conv8=nn.Conv2d(32, 10, 3, bias=False),                     # 1x1    28
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))


class LighterNet(nn.Sequential):
    """Stage 3: the skeleton at an eighteenth of the weights."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 12, 3, bias=False),                      # 26x26  3
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(12, 16, 3, bias=False),                     # 24x24  5
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(16, 18, 3, bias=False),                     # 22x22  7
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(18, 12, 3, bias=False),                     # 20x20  9
            pool1=nn.MaxPool2d(2, 2),                                   # 10x10  10
            conv5=nn.Conv2d(12, 16, 3, bias=False),                     # 8x8    14
            relu5=nn.ReLU(),
            conv6=nn.Conv2d(16, 18, 3, bias=False),                     # 6x6    18
            relu6=nn.ReLU(),
            conv7=nn.Conv2d(18, 12, 3, bias=False),                     # 4x4    22
            relu7=nn.ReLU(),
            conv8=nn.Conv2d(12, 12, 3, bias=False),                     # 2x2    26
            conv9=nn.Conv2d(12, 10, 2, bias=False),                     # 1x1    28
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))


class BatchNormNet(nn.Sequential):
    """Stage 4: batch normalization after each ReLU, and one large kernel at the end."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 12, 3, bias=False),                      # 26x26  3
            relu1=nn.ReLU(),
            batch_norm1=nn.BatchNorm2d(12),
            conv2=nn.Conv2d(12, 12, 3, bias=False),                     # 24x24  5
            relu2=nn.ReLU(),
            batch_norm2=nn.BatchNorm2d(12),
            conv3=nn.Conv2d(12, 12, 3, bias=False),                     # 22x22  7
            relu3=nn.ReLU(),
            batch_norm3=nn.BatchNorm2d(12),
            conv4=nn.Conv2d(12, 12, 3, bias=False),                     # 20x20  9
            batch_norm4=nn.BatchNorm2d(12),
            pool1=nn.MaxPool2d(2, 2),                                   # 10x10  10
            conv5=nn.Conv2d(12, 16, 3, bias=False),                     # 8x8    14
            relu5=nn.ReLU(),
            batch_norm5=nn.BatchNorm2d(16),
            conv6=nn.Conv2d(16, 16, 3, bias=False),                     # 6x6    18
            relu6=nn.ReLU(),
            batch_norm6=nn.BatchNorm2d(16),
            conv7=nn.Conv2d(16, 10, 6, bias=False),                     # 1x1    28
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))


class GlobalAveragePoolingNet(nn.Sequential):
    """Stage 5: the large kernel replaced by an average, which has no weights at all."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 12, 3, bias=False),                      # 26x26  3
            relu1=nn.ReLU(),
            batch_norm1=nn.BatchNorm2d(12),
            conv2=nn.Conv2d(12, 12, 3, bias=False),                     # 24x24  5
            relu2=nn.ReLU(),
            batch_norm2=nn.BatchNorm2d(12),
            conv3=nn.Conv2d(12, 12, 3, bias=False),                     # 22x22  7
            relu3=nn.ReLU(),
            batch_norm3=nn.BatchNorm2d(12),
            conv4=nn.Conv2d(12, 12, 3, bias=False),                     # 20x20  9
            batch_norm4=nn.BatchNorm2d(12),
            pool1=nn.MaxPool2d(2, 2),                                   # 10x10  10
            conv5=nn.Conv2d(12, 16, 3, bias=False),                     # 8x8    14
            relu5=nn.ReLU(),
            batch_norm5=nn.BatchNorm2d(16),
            conv6=nn.Conv2d(16, 10, 3, bias=False),                     # 6x6    18
            relu6=nn.ReLU(),
            batch_norm6=nn.BatchNorm2d(10),
            gap=nn.AvgPool2d(6),                                        # 1x1    28
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))


class PointwiseNet(nn.Sequential):
    """Stage 6: 1×1 convolutions mix channels; batch normalization moves before ReLU."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 10, 3, bias=False),                      # 26x26  3
            batch_norm1=nn.BatchNorm2d(10),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(10, 10, 3, bias=False),                     # 24x24  5
            batch_norm2=nn.BatchNorm2d(10),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(10, 10, 3, bias=False),                     # 22x22  7
            batch_norm3=nn.BatchNorm2d(10),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(10, 10, 3, bias=False),                     # 20x20  9
            batch_norm4=nn.BatchNorm2d(10),
            point1=nn.Conv2d(10, 10, 1, bias=False),                    # 20x20  9
            batch_normp1=nn.BatchNorm2d(10),
            pool1=nn.MaxPool2d(2, 2),                                   # 10x10  10
            conv5=nn.Conv2d(10, 12, 3, bias=False),                     # 8x8    14
            batch_norm5=nn.BatchNorm2d(12),
            relu5=nn.ReLU(),
            conv6=nn.Conv2d(12, 12, 3, bias=False),                     # 6x6    18
            batch_norm6=nn.BatchNorm2d(12),
            relu6=nn.ReLU(),
            conv7=nn.Conv2d(12, 12, 3, bias=False),                     # 4x4    22
            batch_norm7=nn.BatchNorm2d(12),
            gap=nn.AdaptiveAvgPool2d(1),                                # 1x1    28
            point2=nn.Conv2d(12, 10, 1, bias=False),                    # 1x1    28
            batch_normp2=nn.BatchNorm2d(10),
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))


class CapacityNet(nn.Sequential):
    """Stages 7 and 8: a few more channels after the pooling, within the budget of 8,000."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 10, 3, bias=False),                      # 26x26  3
            batch_norm1=nn.BatchNorm2d(10),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(10, 10, 3, bias=False),                     # 24x24  5
            batch_norm2=nn.BatchNorm2d(10),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(10, 10, 3, bias=False),                     # 22x22  7
            batch_norm3=nn.BatchNorm2d(10),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(10, 10, 3, bias=False),                     # 20x20  9
            batch_norm4=nn.BatchNorm2d(10),
            point1=nn.Conv2d(10, 10, 1, bias=False),                    # 20x20  9
            batch_normp1=nn.BatchNorm2d(10),
            pool1=nn.MaxPool2d(2, 2),                                   # 10x10  10
            conv5=nn.Conv2d(10, 14, 3, bias=False),                     # 8x8    14
            batch_norm5=nn.BatchNorm2d(14),
            relu5=nn.ReLU(),
            conv6=nn.Conv2d(14, 14, 3, bias=False),                     # 6x6    18
            batch_norm6=nn.BatchNorm2d(14),
            relu6=nn.ReLU(),
            conv7=nn.Conv2d(14, 13, 3, bias=False),                     # 4x4    22
            batch_norm7=nn.BatchNorm2d(13),
            gap=nn.AdaptiveAvgPool2d(1),                                # 1x1    28
            point2=nn.Conv2d(13, 10, 1, bias=False),                    # 1x1    28
            batch_normp2=nn.BatchNorm2d(10),
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))


class ReliableNet(nn.Sequential):
    """Stage 9: early pooling that keeps every place, and three wide, dilated layers behind it."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 10, 3, bias=False),                      # 26x26  3
            batch_norm1=nn.BatchNorm2d(10),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(10, 14, 3, bias=False),                     # 24x24  5
            batch_norm2=nn.BatchNorm2d(14),
            relu2=nn.ReLU(),
            pool1=nn.MaxPool2d(2, 1),                                   # 23x23  6
            conv3=nn.Conv2d(14, 14, 3, dilation=2, bias=False),         # 19x19  10
            batch_norm3=nn.BatchNorm2d(14),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(14, 16, 3, dilation=2, bias=False),         # 15x15  14
            batch_norm4=nn.BatchNorm2d(16),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(16, 16, 3, dilation=2, bias=False),         # 11x11  18
            batch_norm5=nn.BatchNorm2d(16),
            relu5=nn.ReLU(),
            gap=nn.AdaptiveAvgPool2d(1),                                # 1x1    28
            point1=nn.Conv2d(16, 10, 1),                                # 1x1    28
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))


class SmallerNet(nn.Sequential):
    """Stage 10: stage 9, with fewer channels."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 8, 3, bias=False),                       # 26x26  3
            batch_norm1=nn.BatchNorm2d(8),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 10, 3, bias=False),                      # 24x24  5
            batch_norm2=nn.BatchNorm2d(10),
            relu2=nn.ReLU(),
            pool1=nn.MaxPool2d(2, 1),                                   # 23x23  6
            conv3=nn.Conv2d(10, 10, 3, dilation=2, bias=False),         # 19x19  10
            batch_norm3=nn.BatchNorm2d(10),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(10, 11, 3, dilation=2, bias=False),         # 15x15  14
            batch_norm4=nn.BatchNorm2d(11),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(11, 11, 3, dilation=2, bias=False),         # 11x11  18
            batch_norm5=nn.BatchNorm2d(11),
            relu5=nn.ReLU(),
            gap=nn.AdaptiveAvgPool2d(1),                                # 1x1    28
            point1=nn.Conv2d(11, 10, 1),                                # 1x1    28
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))


class StrideNet(nn.Sequential):
    """Stage 11: a first layer that looks at every third place; the rest is small and quick."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(                                   # size   field
            conv1=nn.Conv2d(1, 24, 4, stride=3, bias=False),            # 9x9    4
            batch_norm1=nn.BatchNorm2d(24),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(24, 16, 3, bias=False),                     # 7x7    10
            batch_norm2=nn.BatchNorm2d(16),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(16, 16, 3, bias=False),                     # 5x5    16
            batch_norm3=nn.BatchNorm2d(16),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(16, 10, 3, bias=False),                     # 3x3    22
            batch_norm4=nn.BatchNorm2d(10),
            relu4=nn.ReLU(),
            gap=nn.AdaptiveAvgPool2d(1),                                # 1x1    28
            flatten=nn.Flatten(),
            log_softmax=nn.LogSoftmax(dim=1),
        ))
