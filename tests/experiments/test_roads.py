"""What each road does to a network, step by step, and that its training keeps it up."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from browser import missing
from torch import nn

from mnist_steps import data, engine, evaluation, stages
from mnist_steps.engine import compiler
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments.arms import network
from mnist_steps.experiments.roads import distillation, low_rank, pruning, quantization, storage
from mnist_steps.experiments.roads.steps import Guest, Schooling, Trainer
from mnist_steps.training import Training

CPU = torch.device("cpu")
TINY = "4@3 5@3 pool 5@3 average 10@1"
both_ways = pytest.mark.parametrize("by", ["torch", "engine"])


def demand(by):
    if by == "engine" and not list(compiler.compilers()):
        missing("no C compiler to test with")


@pytest.fixture
def chain():
    """A small network without normalization, as those of stages 1 and 2 are."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4),
        nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 5), nn.Flatten(), nn.LogSoftmax(dim=1),
    )  # fmt: skip


@pytest.fixture
def digits():
    return data.mnist().full_train[:640]


@pytest.fixture
def images(digits):
    return digits.images[:16].float() / 255


def schooling(model, digits, by, guest=None):
    demand(by)
    return Schooling(model, stages.get(8).recipe, 3, digits, by, guest)


def parameters(model):
    return sum(one.numel() for one in model.parameters())


# --- Pruning --------------------------------------------------------------------------------


def test_the_smallest_weights_go_until_as_many_parameters_are_left_as_were_asked_for(chain):
    chain.to(memory_format=torch.channels_last)  # as trainings have them
    before = torch.cat([one.weight.detach().flatten() for one in chain if hasattr(one, "weight")])
    masks = pruning.weakest_weights(chain, 300)
    after = torch.cat([one.weight.detach().flatten() for one in chain if hasattr(one, "weight")])
    assert sum(int((one != 0).sum()) for one in chain.parameters()) == 300
    assert torch.equal(after[after != 0], before[after != 0]), "those that stay are as they were"
    assert before[after == 0].abs().max() <= after[after != 0].abs().min()
    assert sum(int(mask.sum()) for mask in masks.values()) == 300 - 24  # biases have no mask


def test_more_than_there_is_cannot_be_kept_nor_less_than_the_biases(chain):
    for kept in (24, parameters(chain) + 1):
        with pytest.raises(MnistStepsError, match="parameters are to stay: expected from 25, "):
            pruning.weakest_weights(chain, kept)


@both_ways
def test_pruned_weights_stay_zero_while_the_others_train(chain, digits, by):
    masks = pruning.weakest_weights(chain, 500)
    before = copy.deepcopy(chain)
    schooling(chain, digits, by, Guest(masks=masks)).run_epoch()
    for name, mask in masks.items():
        weight = chain.get_parameter(name)
        assert torch.all(weight[mask == 0] == 0)
        assert not torch.equal(weight, before.get_parameter(name))


def test_channels_that_gave_nothing_can_go_without_a_change(chain, images):
    with torch.no_grad():
        chain[0].weight[3:], chain[0].bias[3:] = 0, 0
        chain[3].weight[4:], chain[3].bias[4:] = 0, 0
    half = pruning.fewer_channels(chain, 1200)
    assert [one.out_channels for one in half if isinstance(one, nn.Conv2d)] == [3, 4, 10]
    assert parameters(half) <= 1200
    torch.testing.assert_close(half(images), chain(images))


def test_the_channels_with_the_largest_kernels_stay(chain):
    with torch.no_grad():
        chain[0].weight[[1, 4]] *= 10
    fewer = pruning.fewer_channels(chain, parameters(chain) // 5)
    kept = fewer[0].out_channels
    assert kept < 6 and any(torch.equal(fewer[0].weight[0], chain[0].weight[one]) for one in (1, 4))


def test_channels_are_cut_only_where_nothing_else_has_parameters():
    with pytest.raises(MnistStepsError, match="BatchNorm2d.* has parameters: expected a chain"):
        pruning.fewer_channels(network(TINY), 500)


# --- Low rank -------------------------------------------------------------------------------


def test_two_thin_layers_of_full_rank_are_the_layer_itself(chain, images):
    layer = chain[3]
    rank = min(low_rank.as_matrix(layer.weight).shape)
    down, across = low_rank.two_thin_ones(layer, rank)
    maps = chain[:3](images)
    torch.testing.assert_close(across(down(maps)), layer(maps), rtol=1e-4, atol=1e-5)
    assert (down.kernel_size, across.kernel_size) == ((3, 1), (1, 3))


def test_what_a_low_rank_leaves_out_is_what_its_singular_values_say(chain):
    layer = chain[3]
    down, across = low_rank.two_thin_ones(layer, 4)
    together = torch.einsum("riy,orx->oiyx", down.weight[..., 0], across.weight[:, :, 0])
    lost = (together - layer.weight).square().sum()
    values = torch.linalg.svdvals(low_rank.as_matrix(layer.weight))
    torch.testing.assert_close(lost, values[4:].square().sum())


def test_the_ranks_fit_into_the_budget_and_a_larger_budget_keeps_more():
    torch.manual_seed(0)
    skeleton = stages.get(2).build()
    ranks = {budget: low_rank.ranks_within(skeleton, budget) for budget in (7999, 28_000, 300_000)}
    for budget, found in ranks.items():
        assert parameters(low_rank.factorized(skeleton, found)) <= budget
        assert "conv1" not in found
    assert all(ranks[7999][name] < ranks[28_000][name] for name in ranks[7999])
    whole = low_rank.factorized(skeleton, ranks[300_000])
    assert [name for name, _ in whole.named_children()] == [
        name for name, _ in skeleton.named_children()
    ], "where two thin layers would be larger, the layer stays"
    with pytest.raises(MnistStepsError, match="no factors of rank 1 have 2,000 parameters"):
        low_rank.ranks_within(skeleton, 2000)


def test_the_engine_computes_thin_layers_as_pytorch_does(chain, images, digits):
    demand("engine")
    thin = low_rank.factorized(chain, {"3": 5, "5": 4})
    normalization = stages.get(8).recipe.normalize_test
    assert engine.misfit(thin) is None
    by_torch = evaluation.log_probabilities(thin, digits.images[:64], normalization)
    by_engine = engine.evaluate(thin, digits.images[:64], normalization)
    torch.testing.assert_close(by_engine, by_torch, rtol=1e-4, atol=1e-5)


# --- Quantization ---------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4])
def test_a_code_is_at_most_half_a_step_from_its_weight(bits):
    weight = torch.randn(7, 3, 3, 3)
    whole, scale = quantization.codes(weight, bits)
    most = 2 ** (bits - 1) - 1
    assert whole.dtype == torch.int8 and whole.abs().amax(dim=(1, 2, 3)).tolist() == [most] * 7
    apart = (quantization.rounded(weight, bits) - weight).abs().amax(dim=(1, 2, 3))
    assert torch.all(apart <= 0.5001 * scale)
    assert torch.equal(
        quantization.rounded(quantization.rounded(weight, bits), bits).round(decimals=5),
        quantization.rounded(weight, bits).round(decimals=5),
    )


def test_activations_are_rounded_inside_the_block_and_nowhere_else(chain, images):
    exact = chain(images)
    with quantization.rounded_activations(chain, images):
        coarse = chain(images)
        seen = []
        hook = chain[3].register_forward_hook(lambda layer, inputs, out: seen.append(inputs[0]))
        chain(images)
        hook.remove()
    assert len(seen[0].unique()) <= 2**quantization.ACTIVATION_BITS - 1
    assert not torch.equal(coarse, exact) and torch.allclose(coarse, exact, atol=0.1)
    assert torch.equal(chain(images), exact)


@both_ways
def test_a_step_computes_with_rounded_weights_and_moves_the_exact_ones(digits, by):
    demand(by)
    torch.manual_seed(1)
    model = network(TINY).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(model)
    chosen, rate = torch.arange(32), 0.05
    trainer = Trainer(
        model, torch.optim.SGD(model.parameters(), lr=rate), digits,
        stages.get(8).recipe.normalize_train, native=by == "engine", guest=Guest(bits=4),
    )  # fmt: skip
    trainer.step(chosen, None)

    exact = copy.deepcopy(twin)
    quantization.round_weights(twin.train(), 4)
    images = trainer.normalization(digits.images[:32].float() / 255)
    F.nll_loss(twin(images), digits.labels[:32]).backward()
    for name, weight in exact.named_parameters():
        expected = weight - rate * twin.get_parameter(name).grad
        torch.testing.assert_close(model.get_parameter(name), expected, rtol=1e-3, atol=1e-5)


# --- Distillation ---------------------------------------------------------------------------


def test_a_teacher_without_a_share_says_nothing_and_one_that_agrees_asks_for_nothing():
    torch.manual_seed(0)
    answers = torch.randn(20, 10).log_softmax(dim=1)
    student = torch.randn(20, 10, requires_grad=True)
    labels, chosen = torch.randint(10, (20,)), torch.arange(20)
    deaf = distillation.Teaching(answers, 0.0, 4.0).loss(student.log_softmax(1), labels, chosen)
    torch.testing.assert_close(deaf, F.cross_entropy(student, labels))
    same = answers.clone().requires_grad_()
    distillation.Teaching(answers, 1.0, 4.0).loss(same.log_softmax(1), labels, chosen).backward()
    torch.testing.assert_close(same.grad, torch.zeros(20, 10))


def test_the_teachers_part_pulls_alike_at_every_temperature_when_it_is_high():
    """That is what T² is for: a gradient shrinks by it."""
    torch.manual_seed(0)
    answers, labels, chosen = torch.randn(8, 10).log_softmax(1), torch.zeros(8).long(), range(8)
    gradients = []
    for temperature in (50.0, 100.0):
        student = torch.zeros(8, 10, requires_grad=True)
        teaching = distillation.Teaching(answers, 1.0, temperature)
        teaching.loss(student.log_softmax(1), labels, torch.tensor(chosen)).backward()
        gradients.append(student.grad)
    assert (gradients[0].norm() / gradients[1].norm()).item() == pytest.approx(1, rel=0.1)


def test_the_engine_takes_a_taught_step_as_pytorch_does(digits):
    demand("engine")
    torch.manual_seed(2)
    teaching = distillation.Teaching(torch.randn(640, 10).log_softmax(dim=1), 0.7, 3.0)
    start, moved = network(TINY), {}
    for by in ("torch", "engine"):
        model = copy.deepcopy(start).to(memory_format=torch.channels_last)
        trainer = Trainer(
            model, torch.optim.SGD(model.parameters(), lr=0.05), digits,
            stages.get(8).recipe.normalize_train, native=by == "engine",
            guest=Guest(teaching=teaching),
        )  # fmt: skip
        loss, recognized = trainer.step(torch.arange(32), None)
        moved[by] = [one.detach() for one in model.parameters()], loss, recognized
    assert moved["torch"][1] == pytest.approx(moved["engine"][1], rel=1e-4)
    assert moved["torch"][2] == moved["engine"][2]
    for one, other in zip(moved["torch"][0], moved["engine"][0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


# --- Training -------------------------------------------------------------------------------


@both_ways
def test_without_a_guest_a_schooling_is_the_training_that_stages_have(digits, by):
    demand(by)
    stage = stages.get(8)
    usual = Training(stage, 3, CPU, digits, data.mnist().test[:100], engine=by)
    usual.run_epoch()
    torch.manual_seed(3)
    ours = schooling(stage.build(), digits, by)
    ours.run_epoch()
    assert ours.losses[0] == pytest.approx(usual.losses[0].mean().item(), rel=1e-3)
    for one, other in zip(ours.model.parameters(), usual.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_a_schooling_goes_on_to_the_same_weights(digits, tmp_path):
    by = "torch"
    torch.manual_seed(0)
    start = network(TINY)
    straight = schooling(copy.deepcopy(start), digits, by)
    stopped = schooling(copy.deepcopy(start), digits, by)
    straight.run_epoch(), straight.run_epoch(), stopped.run_epoch()
    torch.save(stopped.state(), tmp_path / "kept.pt")
    later = schooling(copy.deepcopy(start), digits, by)
    later.restore(torch.load(tmp_path / "kept.pt", weights_only=True))
    later.run_epoch()
    assert later.losses == straight.losses
    for one, other in zip(later.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_sixteen_bits_train_nearly_as_thirty_two_do(chain, digits):
    exact, coarse = copy.deepcopy(chain), chain
    for model, guest in ((exact, Guest()), (coarse, Guest(bfloat16=True))):
        schooling(model, digits, "torch", guest).run_epoch()
    apart = [
        (one - other).abs().max().item()
        for one, other in zip(exact.parameters(), coarse.parameters(), strict=True)
    ]
    assert 0 < max(apart) < 0.01 and all(one.dtype == torch.float32 for one in coarse.parameters())


# --- Bytes ----------------------------------------------------------------------------------


def test_a_file_has_four_bytes_a_weight_and_two_numbers_for_a_normalized_channel():
    model = network(TINY)
    weights = sum(one.weight.numel() for one in model if isinstance(one, nn.Conv2d))
    numbers = weights + 10 + 2 * (4 + 5 + 5)
    assert storage.of(model).dense == 4 * numbers


def test_eight_bits_are_a_byte_a_weight_and_four_bits_half_of_one():
    model = network(TINY)
    weights = [one.weight.numel() for one in model if isinstance(one, nn.Conv2d)]
    rest = 4 * (10 + 10 + 2 * (4 + 5 + 5))  # the last layer's scales and biases, normalization
    assert storage.of(model, 8).dense == sum(weights) + rest
    assert storage.of(model, 4).dense == sum(-(-count // 2) for count in weights) + rest


def test_zeros_shrink_a_sparse_and_a_compressed_file_but_not_a_dense_one(chain):
    before = storage.of(chain)
    pruning.weakest_weights(chain, 200)
    after = storage.of(chain)
    assert after.dense == before.dense == 4 * parameters(chain)
    assert after.sparse <= 200 * 6 and after.compressed < before.compressed / 2
    assert after.least == min(after.sparse, after.compressed) and after.way != "dense"


def test_four_bits_are_packed_so_that_every_code_can_be_read_again():
    whole, _ = quantization.codes(torch.randn(3, 5, 1, 1), 4)
    packed = storage._packed(whole, 4)
    nibbles = itertools.chain.from_iterable((byte >> 4, byte & 15) for byte in packed)
    read = [one - 16 if one > 7 else one for one in nibbles]
    assert read[:15] == whole.flatten().tolist()
