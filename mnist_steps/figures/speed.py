"""Where a step's time goes."""

from collections.abc import Mapping

import matplotlib

from mnist_steps.figures.style import PALETTE, Figure, axes_row, finish, note, with_colours

PART_COLOURS = ("grid", "train", "test", "accent", "wrong", "muted")


def step_parts(steps: Mapping[str, Mapping[str, float]]) -> Figure:
    """Where the time of a training step goes, in shares of it: one bar a network.

    steps: by the network's name, the seconds of each part, in order
    Raises MnistStepsError for more parts than PART_COLOURS.
    """
    names = list(dict.fromkeys(part for parts in steps.values() for part in parts))
    colours = dict(with_colours(names, PART_COLOURS))
    figure, (axes,) = axes_row(8.2, 0.5 * len(steps) + 1.2)
    described = []
    for row, (name, parts) in enumerate(steps.items()):
        whole = sum(parts.values())
        left = 0.0
        for part, seconds in parts.items():
            share = 100 * seconds / whole
            axes.barh(row, share, left=left, height=0.62, color=PALETTE[colours[part]])
            left += share
        note(axes, f"{1000 * whole:.1f} ms", (100, row), (6, 0), va="center")
        shares = ", ".join(f"{part} {seconds / whole:.0%}" for part, seconds in parts.items())
        described.append(f"{name}, {1000 * whole:.1f} ms: {shares}")
    axes.set_yticks(range(len(steps)), list(steps))
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="percent of a step")
    axes.grid(False, axis="y")
    handles = [
        matplotlib.patches.Patch(color=PALETTE[colour], label=name)
        for name, colour in colours.items()
    ]  # many parts are too thin to carry their names
    axes.legend(
        handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1),
        frameon=False, fontsize=10, handlelength=0.8, handletextpad=0.4, columnspacing=1.2,
        borderaxespad=0.2,
    )  # fmt: skip
    return finish(figure, f"Where a training step's time goes. {'; '.join(described)}.")
