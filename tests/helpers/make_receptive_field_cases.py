"""Write receptive_field_cases.json: networks on which both calculators have to agree.

Random chains of convolutions and poolings, half of them with other windows along the rows than
along the columns, and what `receptive_field.analyze` says of them. Chains that PyTorch refuses
are kept too, with the position of the layer that it refuses. Run it as a script to write the file.
"""

import json
import random
from pathlib import Path

import torch
from torch import nn

from mnist_steps import receptive_field

FILE = Path(__file__).with_name("receptive_field_cases.json")
KINDS = ("Conv2d", "Conv2d", "Conv2d", "MaxPool2d", "AvgPool2d")


def random_case(generator):
    """Input shape and steps of one network; `refused_at` where PyTorch cannot run it."""
    input_shape = (
        [1, 28, 28] if generator.random() < 0.5 else [1, *generator.choices(range(7, 33), k=2)]
    )
    square = generator.random() < 0.5

    def two(choices, weights):
        one = generator.choices(choices, weights)[0]
        return [one, one if square else generator.choices(choices, weights)[0]]

    steps = []
    for _ in range(generator.randint(1, 7)):
        kind = generator.choice(KINDS)
        window = {
            "kernel_size": two((1, 2, 3, 4, 5, 7), (2, 4, 6, 1, 2, 1)),
            "stride": two((1, 2, 3), (6, 2, 1)),
            "padding": two((0, 1, 2, 4), (6, 3, 1, 1)),
        }
        if kind != "AvgPool2d":
            window["dilation"] = two((1, 2, 3), (6, 1, 1))
        steps.append({"kind": kind, "window": window})
    return {"input_shape": input_shape, "steps": steps} | refusal(input_shape, steps)


def layer_of(step):
    window = {name: tuple(values) for name, values in step["window"].items()}
    if step["kind"] == "Conv2d":
        return nn.Conv2d(1, 1, **window)
    return getattr(nn, step["kind"])(**window)


def refusal(input_shape, steps):
    image = torch.zeros(1, *input_shape)
    for position, step in enumerate(steps):
        try:
            image = layer_of(step)(image)
        except RuntimeError:
            return {"refused_at": position}
    return {}


def expected(case):
    """What analyze() says of each layer, and of its first, last and middle unit."""
    steps = case["steps"][: case.get("refused_at")]
    if not steps:
        return []
    network = nn.Sequential(*map(layer_of, steps))
    return [
        described(layer) for layer in receptive_field.analyze(network, tuple(case["input_shape"]))
    ]


def described(layer):
    height, width = layer.units
    places = sorted({(0, 0), (height // 2, width // 2), (height - 1, width - 1), (0, width - 1)})
    return {
        "output_shape": list(layer.output_shape),
        "size": list(layer.size),
        "jump": list(layer.jump),
        "start": list(layer.start),
        "units": [
            {"unit": list(at), "box": list(layer.box(*at)), "pixels": layer.pixels(*at)}
            for at in places
        ],
    }


def make(count=120):
    generator = random.Random(28)
    cases = [random_case(generator) for _ in range(count)]
    return [case | {"layers": expected(case)} for case in cases]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case) for case in make())
    FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
