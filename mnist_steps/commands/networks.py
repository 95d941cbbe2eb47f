"""Looking at a network: `summary`, `rf` and `export`."""

from pathlib import Path
from typing import Annotated

import typer

from mnist_steps.commands.loading import load_model
from mnist_steps.commands.options import Json, Number, Seed, print_json, print_table
from mnist_steps.errors import MnistStepsError

# torch takes a second or two to import: each command imports what it needs, so that --help is
# instant. So it is in all of these modules.

Model = Annotated[
    str,
    typer.Argument(
        help="A stage's number, or `package.module:Name` or `file.py:Name` of a model of yours."
    ),
]
Input = Annotated[str, typer.Option("--input", help="Shape of one input: channels, height, width.")]


def print_summary(
    model: Model,
    input_shape: Input = "1,28,28",
    everything: Annotated[
        bool, typer.Option("--all", help="Also list activations and reshapes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a network layer by layer: shapes, parameters, arithmetic, receptive field.

    Example: mnist-steps summary torchvision.models:resnet18 --input 3,224,224
    """
    from mnist_steps import summary

    layers = summary.summarize(load_model(model), parse_shape(input_shape), everything=everything)
    if as_json:
        print_json(layers.as_data())
    else:
        print(layers)


def print_receptive_fields(
    model: Model,
    input_shape: Input = "1,28,28",
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the field's growth, layer by layer, to an SVG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the receptive field of every layer: size, jump and start, in input pixels.

    Example: mnist-steps rf torchvision.models:resnet18 --input 3,224,224 --plot growth.svg
    """
    from mnist_steps import receptive_field

    shape = parse_shape(input_shape)
    analysis = receptive_field.analyze(load_model(model), shape)
    if plot is not None:
        from mnist_steps import figures

        figures.growth(analysis, shape[-1]).save(plot)
    layers = [
        {
            name: getattr(layer, name)
            for name in ("name", "kind", "output_shape", "size", "jump", "start", "note")
        }
        for layer in analysis
    ]
    if as_json:
        print_json(layers)
        return
    columns = ("output_shape", "size", "jump", "start")
    print_table(
        ("layer", "kind", ">output", ">size", ">jump", ">start", "note"),
        (
            (
                layer["name"],
                layer["kind"],
                *(receptive_field.times(layer[name]) for name in columns),
                layer["note"],
            )
            for layer in layers
        ),
        caption="Size, jump and start in input pixels, height × width, without borders.",
    )


def export(
    number: Number,
    out: Annotated[Path, typer.Option(help="The folder to write into; made when missing.")],
    seed: Seed = None,
) -> None:
    """Write a stage's recorded network as model.json and weights.bin, for other languages.

    Example: mnist-steps export 8 --out network
    """
    from mnist_steps.pages import export

    written = export.export(number, out, seed)
    print(
        f"Wrote {out / 'model.json'} ({len(written['layers'])} layers) "
        f"and {out / 'weights.bin'} ({written['weights']['bytes']:,} bytes)."
    )


def parse_shape(text: str) -> tuple[int, ...]:
    """'3,224,224' as (3, 224, 224). Raises MnistStepsError for anything else."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise MnistStepsError(
            f"--input {text!r} is no shape: give whole numbers above 0 with commas, "
            "such as 3,224,224."
        )
    return tuple(int(part) for part in parts)
