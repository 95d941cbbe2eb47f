"""What the original tutorial reported, as data: facts, errors included.

It trained each of its eight stages once, on one GPU.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """What the original reported: one run on one GPU, its best epoch.

    accuracies in percent
    parameters_text: the count as the original printed it
    receptive_fields: layer name to the side length it stated, in pixels; some are wrong
    """

    parameters: int
    parameters_text: str
    best_train_accuracy: float
    best_test_accuracy: float
    test_accuracies: tuple[float, ...]
    receptive_fields: dict[str, int]

    @property
    def final_test_accuracy(self) -> float:
        return self.test_accuracies[-1]


FROM_STAGE_6 = dict(
    conv1=3, conv2=5, conv3=7, conv4=9, point1=9, pool1=10, conv5=14, conv6=18, conv7=22, gap=28,
    point2=28,
)  # fmt: skip

# By the stage's number.
CLAIMS: dict[int, Claim] = {
    1: Claim(
        parameters=6_379_786,
        parameters_text="6.3M",
        best_train_accuracy=98.72,
        best_test_accuracy=99.29,
        test_accuracies=(
            36.89, 94.00, 96.89, 97.44, 98.44, 98.23, 98.82, 98.71, 99.07, 99.04, 99.18, 99.19,
            99.25, 99.28, 99.29,
        ),
        receptive_fields=dict(
            conv1=3, conv2=5, pool1=10, conv3=12, conv4=14, pool2=28, conv5=30, conv6=32,
            conv7=34
        ),
    ),
    2: Claim(
        parameters=261_216,
        parameters_text="261K",
        best_train_accuracy=98.49,
        best_test_accuracy=99.02,
        test_accuracies=(
            31.11, 93.20, 95.97, 97.24, 98.31, 98.16, 98.42, 98.57, 98.53, 98.35, 98.72, 98.95,
            98.88, 98.99, 98.94,
        ),
        receptive_fields=dict(
            conv1=3, conv2=5, conv3=7, pool1=8, conv4=12, conv5=16, conv6=20, conv7=24, conv8=28
        ),
    ),
    3: Claim(
        parameters=14_412,
        parameters_text="14.4K",
        best_train_accuracy=97.34,
        best_test_accuracy=98.58,
        test_accuracies=(
            13.87, 15.28, 72.63, 90.77, 94.68, 95.31, 96.91, 97.08, 97.97, 97.87, 97.67, 97.86,
            98.12, 98.23, 98.58,
        ),
        receptive_fields=dict(
            conv1=3, conv2=5, conv3=7, conv4=9, pool1=10, conv5=14, conv6=18, conv7=22,
            conv8=26, conv9=30
        ),
    ),
    4: Claim(
        parameters=13_948,
        parameters_text="13.9K",
        best_train_accuracy=99.24,
        best_test_accuracy=99.53,
        test_accuracies=(
            98.69, 98.72, 99.17, 99.43, 99.14, 99.42, 99.37, 99.25, 99.39, 99.35, 99.40, 99.46,
            99.44, 99.53, 99.27,
        ),
        receptive_fields=dict(
            conv1=3, conv2=5, conv3=7, conv4=9, pool1=10, conv5=14, conv6=18, conv7=28
        ),
    ),
    5: Claim(
        parameters=7_312,
        parameters_text="7.3K",
        best_train_accuracy=98.57,
        best_test_accuracy=99.31,
        test_accuracies=(
            96.62, 98.38, 98.62, 98.47, 99.10, 99.17, 99.08, 99.03, 99.00, 99.27, 99.27, 99.31,
            99.04, 99.28, 99.26,
        ),
        receptive_fields=dict(
            conv1=3, conv2=5, conv3=7, conv4=9, pool1=10, conv5=14, conv6=18, gap=28
        ),
    ),
    6: Claim(
        parameters=6_874,
        parameters_text="6,874",
        best_train_accuracy=98.49,
        best_test_accuracy=99.38,
        test_accuracies=(
            98.40, 98.68, 99.13, 98.87, 99.02, 98.93, 99.10, 99.22, 99.31, 99.25, 99.31, 99.30,
            99.24, 99.30, 99.38,
        ),
        receptive_fields=FROM_STAGE_6,
    ),
    7: Claim(
        parameters=7_884,
        parameters_text="7,884",
        best_train_accuracy=98.67,
        best_test_accuracy=99.38,
        test_accuracies=(
            98.50, 98.95, 99.09, 99.11, 98.98, 99.12, 99.05, 99.09, 99.32, 99.15, 99.23, 99.31,
            99.38, 99.30, 99.31,
        ),
        receptive_fields=FROM_STAGE_6,
    ),
    8: Claim(
        parameters=7_884,
        parameters_text="7,884",
        best_train_accuracy=98.88,
        best_test_accuracy=99.44,
        test_accuracies=(
            97.78, 98.59, 98.92, 98.81, 98.91, 99.06, 99.19, 99.22, 99.16, 99.44, 99.38, 99.36,
            99.43, 99.43, 99.44,
        ),
        receptive_fields=FROM_STAGE_6,
    ),
}  # fmt: skip
