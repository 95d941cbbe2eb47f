"""The engine as WebAssembly, in a real browser, gives what the native engine gives.

The page of these tests has the policy that every page of the site has: the engine compiles and runs
in its worker under it.
"""

import base64
import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import missing, served, watch
from engine_page import floats, network_of, numbers_of, write_page

from mnist_steps import data, engine, runs, stages, training
from mnist_steps.engine import compiler
from mnist_steps.engine import network as in_c
from mnist_steps.training import Training
from site_tools import engine_assets

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
STEPS, FREE_STEPS = 50, 10


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_page(folder)
    return folder


@pytest.fixture(scope="module")
def page(browser, site):
    context = browser.new_context()
    with served(site) as address:
        page = watch(context.new_page())
        page.goto(address)
        yield page
        assert page.complaints == []
        context.close()


# --- The file -------------------------------------------------------------------------------


def test_the_packages_file_is_what_its_sources_say_and_small():
    assert engine_assets.problem() is None
    assert engine_assets.WASM.stat().st_size <= engine_assets.LARGEST


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda folder: (folder / "network.c").write_text("int changed;"), "is older than the eng"),
        (lambda folder: (folder / "engine.wasm").write_bytes(b"\\0asm"), "is damaged"),
        (lambda folder: (folder / "engine.wasm").unlink(), "cannot be read"),
        (lambda folder: (folder / "engine.json").write_text("[]"), "cannot be read"),
    ],
    ids=["stale", "damaged", "gone", "no notes"],
)
def test_a_build_of_the_site_refuses_another_file_and_says_how_to_renew_it(
    spoil, said, tmp_path, monkeypatch
):
    folder = tmp_path / "engine"
    shutil.copytree(engine_assets.ENGINE, folder)
    monkeypatch.setattr(engine_assets, "ENGINE", folder)
    monkeypatch.setattr(engine_assets, "WASM", folder / "engine.wasm")
    monkeypatch.setattr(engine_assets, "NOTES", folder / "engine.json")
    assert engine_assets.problem() is None
    spoil(folder)
    with pytest.raises(engine_assets.PluginError) as refused:
        engine_assets.on_files(None, None)
    message = str(refused.value)
    assert said in message and message.endswith("make engine-wasm") and "\n" not in message


# --- The same as natively -------------------------------------------------------------------


COMPARE = """
async ({ network, steps, batch, sizes, trained, rates }) => {
  const read = (name) => file(`${name}.bin`, Float32Array);
  const images = await file("images.bin", Uint8Array);
  const labels = await file("labels.bin", Uint8Array);
  const maps = await read("maps"), states = await read("states");
  const expected = { fused: await read("fused"), rounded: await read("rounded") };
  await call("create", network, images, labels);
  const total = (sizes) => Object.values(sizes).reduce((sum, size) => sum + size, 0);
  const of = (numbers, size, step) => numbers.subarray(step * size, (step + 1) * size);
  const most = (numbers) => numbers.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const outcomes = [];
  for (let step = 0; step < steps; step++) {
    await call("load", parts(of(states, total(sizes), step), sizes));
    const chosen = Array.from({ length: batch }, (_, i) => step * batch + i);
    const moved = maps.length ? of(maps, 6 * batch, step).slice() : null;
    const { loss } = await call("step", chosen, moved, rates[step]);
    const ours = await call("gradients"), apart = {};
    for (const [way, gradients] of Object.entries(expected)) {
      const all = of(gradients, total(trained), step);
      // A bias before another normalization has the gradient 0, and only rounding shows.
      apart[way] = Object.entries(parts(all, trained)).map(([name, theirs]) => {
        const difference = most(theirs.map((value, i) => value - ours[name][i]));
        return difference / Math.max(most(theirs), 1e-3 * most(all));
      });
    }
    outcomes.push({ loss, ...apart });
  }
  return outcomes;
}
"""


# Steps one after another, from the state before the first.
FREE = """
async ({ network, batch, sizes, rates, momenta, free }) => {
  const maps = await file("maps.bin", Float32Array);
  const images = await file("images.bin", Uint8Array);
  await call("create", network, images, await file("labels.bin", Uint8Array));
  const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  await call("load", parts((await file("states.bin", Float32Array)).subarray(0, total), sizes));
  const losses = [];
  for (let step = 0; step < free; step++) {
    const chosen = Array.from({ length: batch }, (_, i) => step * batch + i);
    const of = 6 * batch;
    const moved = maps.length ? maps.slice(step * of, (step + 1) * of) : null;
    losses.push((await call("step", chosen, moved, rates[step], momenta[step])).loss);
  }
  return losses;
}
"""


@pytest.fixture
def engine_that_rounds(monkeypatch):
    """Switches to a native engine that rounds every product before it adds it, as WebAssembly does.

    Where a processor multiplies and adds in one operation, a value next to 0 may come out on the
    other side, and then a ReLU or a pool hands the gradient on to another unit.
    """

    def forget():
        compiler._library.cache_clear()
        in_c._function.cache_clear()

    def switch():
        monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-ffp-contract=off"))
        forget()

    yield switch
    monkeypatch.undo()
    forget()


def native_steps(stage, site, switch):
    """Take steps natively; leave what the page needs as files.

    Returns the losses, and what the page is told.
    """
    under_way = Training(stage, stages.SEED, CPU, engine="engine")
    recipe, split, model = stage.recipe, under_way.train_split, under_way.model
    order = torch.randperm(len(split), generator=under_way.generator)
    batches = order.split(recipe.batch_size)[:STEPS]
    maps = list(training.moves(batches, recipe, under_way.generator))
    states, losses, rates, momenta = [], [], [], []
    gradients = {"fused": [], "rounded": []}

    def step(number, way):
        trainer = engine.Trainer(model, under_way.optimizer, split, recipe.normalize_train)
        rates.append(trainer.settings["lr"])
        momenta.append(trainer.settings["momentum"])
        loss, _ = trainer.step(batches[number], maps[number])
        gradients[way].append(numbers_of(trainer.network(recipe.batch_size).gradients))
        return loss

    for number in range(STEPS):
        states.append(copy.deepcopy(model.state_dict()))
        losses.append(step(number, "fused"))
        if under_way.schedule is not None:
            under_way.schedule.step()
    switch()
    for number, state in enumerate(states):
        model.load_state_dict(state)
        assert step(number, "rounded") == pytest.approx(losses[number], rel=1e-5)

    chosen = torch.cat(batches)
    for name, content in {
        "images": split.images[chosen].numpy(),
        "labels": split.labels[chosen].to(torch.uint8).numpy(),
        "maps": numbers_of([one for one in maps if one is not None] or [torch.zeros(0)]),
        "states": numbers_of([v for state in states for v in floats(state).values()]),
        **{name: np.concatenate(found) for name, found in gradients.items()},
    }.items():
        content.tofile(site / f"{name}.bin")
    return losses, {
        "network": network_of(stage),
        "steps": STEPS,
        "batch": recipe.batch_size,
        "sizes": {name: value.numel() for name, value in floats(states[0]).items()},
        "trained": {name: value.numel() for name, value in model.named_parameters()},
        "rates": rates,
        "momenta": momenta,
        "free": FREE_STEPS,
    }


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 4, 8, 11])
def test_every_step_from_the_same_state_is_the_native_engines(
    number, page, site, engine_that_rounds
):
    if not list(compiler.compilers()):
        missing("no C compiler to test with")
    losses, told = native_steps(stages.get(number), site, engine_that_rounds)
    outcomes = page.evaluate(COMPARE, told)
    assert [found["loss"] for found in outcomes] == pytest.approx(losses, rel=1e-5)
    worst = max(max(found["rounded"]) for found in outcomes)
    assert worst < 1e-4
    free = torch.tensor(page.evaluate(FREE, told), dtype=torch.float64)
    native = torch.tensor(losses[:FREE_STEPS], dtype=torch.float64)
    assert ((free - native).abs() / native <= runs.tolerances(FREE_STEPS)).all()
    # Against multiplications and additions in one: where no unit changed sides, the same.
    alike = sum(max(found["fused"]) < 1e-4 for found in outcomes)
    both = zip(outcomes, losses, strict=True)
    apart = max(abs(found["loss"] - loss) / loss for found, loss in both)
    print(
        f"stage {number}: losses at most {apart:.1e} apart, gradients {worst:.1e}; with fused "
        f"multiplications {alike} of {STEPS} steps within 1e-4, the others up to "
        f"{max(max(found['fused']) for found in outcomes):.1e}"
    )


@pytest.mark.parametrize("number", [3, 8])
def test_a_trained_network_reads_all_test_digits_as_it_does_natively(number, page, site):
    if not list(compiler.compilers()):
        missing("no C compiler to test with")
    run, test = runs.load(number), data.mnist().test
    model, stage = run.build(), run.stage
    native = engine.evaluate(model, test.images, stage.recipe.normalize_test)
    numbers_of(floats(model.state_dict()).values()).tofile(site / "weights.bin")
    test.images.numpy().tofile(site / "test.bin")
    told = {
        "network": network_of(stage),
        "sizes": {name: value.numel() for name, value in floats(model.state_dict()).items()},
    }
    found = page.evaluate(
        """
        async ({ network, sizes }) => {
          const test = await file("test.bin", Uint8Array);
          await call("create", network, test.slice(0, 784 * 16), new Uint8Array(16));
          await call("load", parts(await file("weights.bin", Float32Array), sizes));
          const bytes = new Uint8Array((await call("evaluate", test)).buffer);
          let text = "";
          for (const byte of bytes) text += String.fromCharCode(byte);
          return btoa(text);
        }
        """,
        told,
    )
    ours = torch.frombuffer(bytearray(base64.b64decode(found)), dtype=torch.float32)
    ours = ours.view(-1, 10)
    torch.testing.assert_close(ours, native, rtol=1e-4, atol=1e-4)
    differing = (ours.argmax(dim=1) != native.argmax(dim=1)).nonzero().flatten()
    two_best = native[differing].topk(2, dim=1).values
    ties = int((two_best[:, 0] - two_best[:, 1] < 1e-4).sum())
    assert ties == len(differing), "digits are read otherwise, and not for a tie"
    print(f"stage {number}: {ties} of {len(test)} digits are ties that rounding decides")


# --- What is not right is told --------------------------------------------------------------


def refused(page, code, **told):
    with pytest.raises(Exception) as problem:
        page.evaluate(code, told)
    return str(problem.value).splitlines()[0]


CREATE = """({ network, images, labels }) =>
  call("create", network, new Uint8Array(images), new Uint8Array(labels))"""


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda layers: layers[3]["attributes"].update(kernel_size=[99, 3]),
            "conv2: its kernel or",
        ),
        (lambda layers: layers[3]["attributes"].update(in_channels=7), "conv2: it reads another"),
        (lambda layers: layers[3]["attributes"].update(stride=[2, 2]), "conv2: only the first lay"),
        (
            lambda layers: layers[3]["attributes"].update(kernel_size=[3]),
            "conv2: its sizes must",
        ),
        (lambda layers: layers[3]["attributes"].update(groups=2), "conv2: the engine does not hav"),
        (lambda layers: layers[1]["attributes"].update(momentum=7), "batch_norm1: a setting of it"),
        (lambda layers: layers.insert(2, layers.pop()), "a network for the engine ends with Flat"),
        (lambda layers: layers[0].update(kind="toString"), "conv1: the engine does not have this"),
        (lambda layers: layers[-5]["attributes"].update(output_size=2), "gap: the engine does no"),
        (lambda layers: layers[-4]["attributes"].update(out_channels=9), "batch_normp2: it reads"),
        (lambda layers: layers.pop(-5), "the network ends with 10 ×"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_with_its_layer_and_why(change, said, page):
    network = network_of(stages.get(8))
    change(network["layers"])
    message = refused(page, CREATE, network=network, images=784 * 16, labels=16)
    assert said in message


def test_wrong_batches_and_weights_are_refused(page):
    network = network_of(stages.get(8))
    assert "for 15 labels" in refused(page, CREATE, network=network, images=784 * 16, labels=15)
    page.evaluate(CREATE, {"network": network, "images": 784 * 16, "labels": 16})
    step = "({ chosen, maps }) => call('step', chosen, maps && new Float32Array(maps), 0.1)"
    sixteen = list(range(16))
    assert "a multiple of 16" in refused(page, step, chosen=[1, 2], maps=None)
    assert "none of the 16" in refused(page, step, chosen=[*sixteen[1:], 16], maps=None)
    assert "none of the 16" in refused(page, step, chosen=[*sixteen[1:], -1], maps=None)
    assert "5 numbers of maps" in refused(page, step, chosen=sixteen, maps=5)
    load = "({ name, count }) => call('load', { [name]: new Float32Array(count) })"
    assert "the network has 90 numbers" in refused(page, load, name="conv1.weight", count=91)
    assert "no such weights" in refused(page, load, name="conv99.weight", count=1)
    assert page.evaluate(step, {"chosen": sixteen, "maps": None})["loss"] > 0


def test_a_damaged_file_is_told_in_one_line(site, page):
    (site / "javascripts" / "engine" / "damaged.wasm").write_bytes(b"\\0asm damaged")
    message = refused(
        page,
        """async () => {
          const { compiled } = await import("./javascripts/engine/trainer.js");
          await compiled("javascripts/engine/damaged.wasm");
        }""",
    )
    assert "this browser cannot run the engine, or the file is damaged" in message
