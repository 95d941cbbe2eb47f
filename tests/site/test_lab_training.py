"""The Lab's rules of training, in JavaScript, beside those of the package."""

import functools
import hashlib
import struct

import in_node
import pytest
import torch
from torch import nn

from mnist_steps import augment, data, evaluation, stages
from mnist_steps.augment import (
    RandomCenterCrop,
    RandomResizedCrop,
    RandomRotation,
    RandomTranslation,
)
from mnist_steps.evaluation import Evaluation
from mnist_steps.recipes import TRAIN_PIXELS
from site_tools import engine_assets

STILL = {"centerCrop": 0, "crop": 1, "rotation": 0, "shift": 0}


# --- Augmentation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moves, transforms",
    [
        ({"rotation": 7, "shift": 0.84}, (RandomRotation(7), RandomTranslation(0.03))),
        ({"centerCrop": 0.5, "rotation": 15}, (RandomCenterCrop(22, 0.5), RandomRotation(15))),
        (
            {"crop": 0.5, "rotation": 30, "shift": 5.6},
            (RandomResizedCrop(0.5, 1.0), RandomRotation(30), RandomTranslation(0.2)),
        ),
    ],
    ids=["as stage 11", "as stage 3", "all, and more than anybody wants"],
)
def test_images_move_as_the_packages_do_for_the_same_random_numbers(moves, transforms):
    count = 500
    drawn = torch.rand(count, sum(one.NUMBERS for one in transforms))
    place = 0

    def numbers(*shape):
        nonlocal place
        size = shape[0] if shape else 1
        part = drawn[:, place : place + size]
        place += size
        return part.reshape(count, *shape)

    expected = augment.compose(transforms, numbers)
    assert place == drawn.shape[1]
    found = in_node.run(
        """
        const { drawMaps } = await load("lab/augmentation.js");
        const numbers = given.drawn.flat();
        let next = 0;
        const maps = drawMaps(given.moves, given.drawn.length, () => numbers[next++]);
        if (next !== numbers.length) throw new Error(`took ${next} of ${numbers.length} numbers`);
        return [...maps];
        """,
        drawn=drawn.tolist(),
        moves=STILL | moves,
    )
    torch.testing.assert_close(torch.tensor(found).view(count, 2, 3), expected, rtol=0, atol=2e-6)
    assert len(expected.unique(dim=0)) > 20, "all images move alike: nothing was compared"


def test_images_that_do_not_move_need_no_maps():
    found = in_node.run(
        """
        const { drawMaps } = await load("lab/augmentation.js");
        return drawMaps(given.moves, 16, () => { throw new Error("drew a number"); });
        """,
        moves=STILL,
    )
    assert found is None


def test_a_seed_decides_all_random_numbers_and_an_order_has_each_image_once():
    found = in_node.run(
        """
        const { Random } = await load("lab/random.js");
        const of = (...seeds) => {
          const random = new Random(...seeds);
          return Array.from({ length: 20000 }, () => random.next());
        };
        const order = [...new Random(3).order(1000)];
        return { one: of(0, 1), again: of(0, 1), other: of(1, 0), order };
        """
    )
    assert found["one"] == found["again"] != found["other"]
    assert sorted(found["order"]) == list(range(1000)) != found["order"]
    for numbers in (torch.tensor(found["one"]), torch.tensor(found["other"])):
        assert 0 <= numbers.min() and numbers.max() < 1
        counts = numbers.histc(20, 0, 1)  # of 20,000, a thousand each
        assert ((counts - 1000).abs() < 150).all()
    pairs = torch.tensor([found["one"], found["other"]])
    assert abs(torch.corrcoef(pairs)[0, 1]) < 0.03


# --- The schedule -----------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [30, 2580])
def test_rate_and_momentum_of_every_step_are_those_of_torchs_one_cycle(steps):
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    optimizer = torch.optim.SGD([weight], lr=0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=steps)
    expected = []
    for step in range(steps):
        group = optimizer.param_groups[0]
        expected.append((group["lr"], group["momentum"]))
        optimizer.step()
        if step < steps - 1:
            schedule.step()
    rates = {"schedule": "one-cycle", "peak": 0.3, "learningRate": 0.01, "momentum": 0.9}
    found = in_node.run(
        """
        const { ratesAt } = await load("lab/schedule.js");
        return Array.from({ length: given.steps }, (_, i) => ratesAt(given.rates, i, given.steps));
        """,
        rates=rates,
        steps=steps,
    )
    assert [one["learningRate"] for one in found] == pytest.approx([lr for lr, _ in expected])
    assert [one["momentum"] for one in found] == pytest.approx([m for _, m in expected])


def test_a_constant_rate_stays():
    rates = {"schedule": "constant", "peak": 0.3, "learningRate": 0.02, "momentum": 0.5}
    code = "return (await load('lab/schedule.js')).ratesAt(given.rates, given.step, 100);"
    for step in (0, 50, 99):
        found = in_node.run(code, rates=rates, step=step)
        assert found == {"learningRate": 0.02, "momentum": 0.5}


# --- Weights to begin with --------------------------------------------------------------------


def test_weights_begin_within_the_bounds_of_torchs_layers_and_fill_them_evenly():
    layers = [
        ("wide", nn.Conv2d(32, 128, 5)),
        ("thin", nn.Conv2d(1, 128, 3)),
        ("point", nn.Conv2d(128, 128, 1, bias=False)),
    ]
    described = [
        {
            "name": name,
            "kind": "Conv2d",
            "attributes": {
                "in_channels": layer.in_channels,
                "out_channels": layer.out_channels,
                "kernel_size": list(layer.kernel_size),
                "bias": layer.bias is not None,
            },
        }
        for name, layer in layers
    ]
    found = in_node.run(
        """
        const { initialWeights } = await load("lab/initialization.js");
        const { Random } = await load("lab/random.js");
        const random = new Random(0);
        const drawn = initialWeights(given.layers, () => random.next());
        return Object.entries(drawn).map(([name, numbers]) => [name, [...numbers]]);
        """,
        layers=described,
    )
    drawn = {name: torch.tensor(numbers) for name, numbers in found}
    assert set(drawn) == {
        f"{name}.{part}" for name, layer in layers for part, _ in layer.named_parameters()
    }
    for name, layer in layers:
        for part, theirs in layer.named_parameters():
            ours = drawn[f"{name}.{part}"]
            assert len(ours) == theirs.numel()
            most = theirs.abs().max()  # of hundreds of numbers: close to the bound
            assert ours.abs().max() == pytest.approx(most.item(), rel=0.06)
            assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.2)


# --- Judging ----------------------------------------------------------------------------------


def test_one_view_and_nine_are_judged_as_the_package_judges_them():
    split = data.mnist().test[:300]
    weights = torch.randn(784, 10, generator=torch.Generator().manual_seed(0)) / 40

    def linear(model, images, normalization):
        return (images.flatten(1).float() / 255 @ weights).log_softmax(dim=1)

    recipe = stages.get(11).recipe
    judged = evaluation.evaluate(nn.Identity(), split, recipe, final=True, compute=linear)
    found = in_node.run(
        """
        const { judge } = await load("lab/views.js");
        const evaluate = (images) => {
          const all = new Float32Array(10 * (images.length / 784));
          for (let i = 0; i < all.length / 10; i++) {
            const ten = given.weights[0].map((_, k) => given.weights.reduce(
              (sum, row, pixel) => sum + row[k] * images[784 * i + pixel] / 255, 0));
            const log = Math.log(ten.reduce((sum, one) => sum + Math.exp(one), 0));
            ten.forEach((one, k) => (all[10 * i + k] = one - log));
          }
          return all;
        };
        const images = Uint8Array.from(given.images), labels = Uint8Array.from(given.labels);
        let breaths = 0;
        const both = await judge(evaluate, images, labels, 1, async () => { breaths++; });
        const one = await judge(evaluate, images, labels, 0, async () => {});
        return { ...both, answers: [...both.answers], sure: [...both.sure], one: one.oneView,
                 none: one.nineViews, breaths };
        """,
        weights=weights.tolist(),
        images=split.images.flatten().tolist(),
        labels=split.labels.tolist(),
    )
    assert isinstance(judged.one_view, Evaluation)
    for ours, theirs in (("nineViews", judged), ("oneView", judged.one_view)):
        assert 100 * found[ours]["right"] / 300 == pytest.approx(theirs.accuracy)
        assert found[ours]["loss"] == pytest.approx(theirs.loss, rel=1e-5)
    assert judged.accuracy != judged.one_view.accuracy, "the views make no difference here"
    assert found["one"] == found["oneView"] and found["none"] is None and found["breaths"] >= 9
    assert found["answers"] == judged.predictions.tolist()
    sure = judged.log_probabilities.exp().amax(dim=1)
    assert found["sure"] == pytest.approx(sure.tolist(), rel=1e-4)


# --- A training -------------------------------------------------------------------------------

NETWORK = """
  const { readFileSync } = await import("node:fs");
  const { Training } = await load("lab/training.js");
  const { asText, fromText } = await load("lab/numbers.js");
  const { networkOf } = await load("lab/analysis.js");
  const { read } = await load("lab/fragment.js");
  const wasm = await WebAssembly.compile(readFileSync(given.wasm));
  const link = "lab=1&net=c8k5s4b.n.r.c10k3b.n.g&batch=64&epochs=3&schedule=one-cycle&peak=0.1";
  const { design, problem } = read(link + "&rotate=7&shift=0.84", []);
  if (problem) throw new Error(problem);
  const plan = { layers: networkOf(design), recipe: design.recipe, seed: given.seed };
  const images = Uint8Array.from(given.images), labels = Uint8Array.from(given.labels);
  const begin = (state = null) => new Training(wasm, plan, images, labels, state);
  const epoch = (training) => {
    for (;;) {
      const { trained } = training.step();
      if (trained) return trained;
    }
  };
"""


@functools.cache
def handed_over():
    split = data.mnist().train[:1000]
    return {
        "wasm": str(engine_assets.WASM),
        "images": split.images.flatten().tolist(),
        "labels": split.labels.tolist(),
        "seed": 5,
    }


def test_a_training_learns_and_goes_on_from_any_epoch_to_the_very_same_weights():
    found = in_node.run(
        NETWORK
        + """
        const whole = begin(), trained = [], orders = [];
        while (!whole.finished) {
          whole.step();
          orders.push([...whole.epoch.order]);
          trained.push(epoch(whole));
        }
        const results = [1, 2].map((done) => {
          const first = begin();
          while (first.epochs < done) epoch(first);
          const { epochs, weights, velocities } = first.state();
          const text = JSON.stringify({ weights: asText(weights), velocities: asText(velocities) });
          const kept = JSON.parse(text);
          const [w, v] = [fromText(kept.weights), fromText(kept.velocities)];
          const second = begin({ epochs, weights: w, velocities: v });
          while (!second.finished) epoch(second);
          return asText(second.trainer.weights());
        });
        const other = new Training(wasm, { ...plan, seed: 6 }, images, labels);
        while (!other.finished) epoch(other);
        return { whole: asText(whole.trainer.weights()), results, trained, orders,
                 other: asText(other.trainer.weights()), steps: whole.steps };
        """,
        **handed_over(),
    )  # fmt: skip
    assert found["results"] == [found["whole"]] * 2
    assert found["other"] != found["whole"]
    first, second, third = found["orders"]
    assert first != second != third, "each epoch has the same order"
    assert len(set(first)) == 992
    losses = [one["loss"] for one in found["trained"]]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.75 * losses[0]
    # 1,000 images: 992 in blocks of sixteen, in sixteen batches of which the last is smaller.
    assert [one["images"] for one in found["trained"]] == [992] * 3
    assert found["steps"] == 3 * 16


def test_the_lab_normalizes_as_the_course_does():
    found = in_node.run("return (await load('lab/pixels.js')).PIXELS;")
    assert found == {"mean": TRAIN_PIXELS.mean, "sd": TRAIN_PIXELS.sd}


# --- The digits -------------------------------------------------------------------------------


def idx(magic, *sizes, content=b""):
    return struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + content


READ = """
  const digits = await load("lab/digits.js");
  const bytes = Uint8Array.from(given.bytes);
  try {
    return { found: [...digits[given.what](bytes, "some-file")] };
  } catch (error) {
    return { problem: error.message };
  }
"""


def test_idx_files_are_read():
    images = idx(0x803, 2, 28, 28, content=bytes(range(196)) * 8)
    assert in_node.run(READ, what="imagesIn", bytes=list(images))["found"] == list(images[16:])
    labels = idx(0x801, 3, content=b"\7\0\1")
    assert in_node.run(READ, what="labelsIn", bytes=list(labels))["found"] == [7, 0, 1]


@pytest.mark.parametrize(
    "what, content, said",
    [
        ("imagesIn", b"", "some-file ends within its header: found 0 bytes"),
        ("imagesIn", idx(0x801, 1, 28, 28), "it begins with 00000801, expected 00000803"),
        ("labelsIn", b"<!doctype html>", "it begins with 3c21646f, expected 00000801"),
        ("imagesIn", idx(0x803, 1, 32, 32, content=b"1" * 1024), "images of 32 × 32 pixels"),
        ("imagesIn", idx(0x803, 2, 28, 28, content=b"1" * 784), "784 bytes behind its header, whi"),
        ("labelsIn", idx(0x801, 3, content=b"1234"), "found 4 bytes behind its header, which spe"),
    ],
)
def test_what_is_no_such_idx_file_is_told_in_one_line(what, content, said):
    problem = in_node.run(READ, what=what, bytes=list(content))["problem"]
    assert said in problem and "\n" not in problem


CHECK = """
  const { checked } = await load("lab/digits.js");
  try {
    return { found: [...(await checked(Uint8Array.from(given.bytes), given.file))] };
  } catch (error) {
    return { problem: error.message };
  }
"""


def check(packed, content):
    digest = hashlib.sha256(content).hexdigest()
    file = {"name": "f", "packed": 99, "unpacked": len(content), "sha256": digest}
    return in_node.run(CHECK, bytes=list(packed), file=file)


def test_only_the_very_file_of_the_build_is_trained_with():
    import gzip

    content = bytes(range(256)) * 4
    packed = gzip.compress(content)
    assert check(packed, content)["found"] == list(content)
    # A server may have unpacked it on the way.
    assert check(content, content)["found"] == list(content)
    assert "f cannot be unpacked: found 20 bytes" in check(packed[:20], content)["problem"]
    assert "f is damaged: found 1023 bytes" in check(content[:-1], content)["problem"]
    other = check(gzip.compress(content[::-1]), content)["problem"]
    assert "is not the file that this site was built with: its SHA-256 begins" in other


def test_test_images_shift_as_the_packages_do():
    images = data.mnist().test.images[:20]
    for down, right in ((1, 0), (-1, 1), (0, -1)):
        found = in_node.run(
            """
            const { shifted } = await load("lab/views.js");
            return [...shifted(Uint8Array.from(given.images), given.down, given.right)];
            """,
            images=images.flatten().tolist(),
            down=down,
            right=right,
        )
        expected = evaluation.shifted(images, down, right)
        assert torch.equal(torch.tensor(found, dtype=torch.uint8).view_as(expected), expected)
        assert not torch.equal(expected, images)
