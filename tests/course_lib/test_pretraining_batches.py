"""Windows, the cursor, packing and document masks: against loops, and with versions that do it wrong."""

import numpy as np
import pytest
import torch

from course_lib.pretraining.batches import TokenBatches, evaluation_batches, windows
from course_lib.pretraining.packing import (
    IGNORE,
    document_index,
    document_mask,
    document_positions,
    document_targets,
    pack,
)

EOS = 0


def read(batches, steps):
    return torch.stack([batches.next_batch().inputs for _ in range(steps)])


def test_windows_from_tensor_array_and_memory_map(tmp_path):
    ids = np.random.default_rng(1).integers(0, 60_000, 200)
    ids.astype(np.uint16).tofile(tmp_path / "ids.bin")
    sources = [
        torch.from_numpy(ids),
        ids.astype(np.uint16),
        np.memmap(tmp_path / "ids.bin", dtype=np.uint16, mode="r"),
    ]
    starts = [0, 7, 200 - 11 - 1]
    for source in sources:
        inputs, targets = windows(source, starts, 11)
        assert inputs.dtype == targets.dtype == torch.int64
        assert inputs.tolist() == [ids[s : s + 11].tolist() for s in starts]
        assert targets.tolist() == [ids[s + 1 : s + 12].tolist() for s in starts]
    for outside in (-1, 200 - 11):
        with pytest.raises(ValueError, match="starts"):
            windows(sources[0], [outside], 11)


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_takes_each_window_once(shuffle):
    batches = TokenBatches(torch.arange(1000), batch_size=5, T=7, seed=4, shuffle=shuffle)
    starts = read(batches, 120)[:, :, 0].flatten().tolist()  # the tokens count up: the first one is the start
    for _ in range(4):  # epochs follow each other without a gap; each has as many windows as its offset leaves
        least = starts[0] % 7
        size = (999 - least) // 7
        epoch, starts = starts[:size], starts[size:]
        assert sorted(epoch) == list(range(least, 993, 7))
        assert (epoch == sorted(epoch)) is not shuffle


def test_epochs_differ_and_seeds_differ():
    def epoch(seed, number):
        return TokenBatches(torch.arange(1000), 1, 9, seed=seed)._epoch_starts(number).tolist()

    assert epoch(0, 0) == epoch(0, 0)
    assert epoch(0, 0) != epoch(0, 1) != epoch(1, 0) != epoch(0, 0)
    assert len({start % 9 for number in range(60) for start in epoch(0, number)}) > 5  # the offsets change


@pytest.mark.parametrize("read_before", [0, 1, 14, 37])
def test_resumed_is_as_if_never_stopped(read_before):
    def make():
        return TokenBatches(torch.arange(500) % 300, batch_size=3, T=8, seed=5)

    whole = read(make(), 60)
    first = make()
    for _ in range(read_before):
        first.next_batch()
    state = dict(first.state_dict())
    resumed = make()
    resumed.load_state_dict(state)
    assert torch.equal(read(resumed, 60 - read_before), whole[read_before:])
    forgets_the_epoch = make()
    forgets_the_epoch.load_state_dict({**state, "epoch": 0})
    assert read_before < 21 or not torch.equal(read(forgets_the_epoch, 60 - read_before), whole[read_before:])


def test_state_of_other_data_is_refused():
    batches = TokenBatches(torch.arange(500), 3, 8, seed=5)
    state = batches.state_dict()
    for name, other in [("tokens", 499), ("T", 9), ("seed", 6), ("shuffle", False), ("position", 10**6)]:
        with pytest.raises(ValueError, match=name if name != "position" else "state"):
            batches.load_state_dict({**state, name: other})
    with pytest.raises(ValueError, match="state"):
        batches.load_state_dict({"epoch": 1})
    assert batches.state_dict() == state  # a refused state changes nothing


def test_ranks_read_the_parts_of_one_large_batch():
    one = read(TokenBatches(torch.arange(400), 6, 5, seed=2), 20)
    for world in (2, 3):
        parts = [
            read(TokenBatches(torch.arange(400), 6 // world, 5, seed=2, rank=r, world=world), 20) for r in range(world)
        ]
        assert torch.equal(torch.cat(parts, 1), one)


def test_documents_kept_apart_in_a_batch():
    tokens = torch.tensor([5, 6, EOS, 7, EOS, 8, 9, 4, EOS, 3])
    batch = TokenBatches(tokens, 1, 9, shuffle=False, eos=EOS).next_batch()
    assert batch.targets.tolist() == [[6, EOS, IGNORE, EOS, IGNORE, 9, 4, EOS, IGNORE]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3]]
    assert torch.equal(batch.mask[0], document_mask(tokens[:9], EOS))
    plain = TokenBatches(tokens, 1, 9, shuffle=False).next_batch()
    assert plain.mask is None and plain.positions is None and plain.targets.tolist() == [tokens[1:].tolist()]


@pytest.mark.parametrize("count", [2, 3, 12, 13, 14, 24, 25, 26, 100])
def test_evaluation_sees_every_target_once(count):
    ids = torch.arange(count) + 7
    seen = []
    for inputs, targets in evaluation_batches(ids, batch_size=3, T=4):
        kept = targets != IGNORE
        assert torch.equal(inputs[kept] + 1, targets[kept])
        seen += targets[kept].tolist()
    assert seen == ids[1:].tolist()


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"tokens": torch.arange(8)}, "tokens"),
        ({"tokens": [1, 2, 3]}, "tokens"),
        ({"tokens": torch.zeros(9, 9)}, "tokens"),
        ({"batch_size": 0}, "batch_size"),
        ({"T": 0}, "T"),
        ({"seed": -1}, "seed"),
        ({"rank": 1}, "rank"),
        ({"world": 0}, "world"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        TokenBatches(**{"tokens": torch.arange(100), "batch_size": 2, "T": 8, **arguments})


def test_the_shortest_data_works():
    for seed in range(20):
        inputs, targets, _, _ = TokenBatches(torch.arange(9), 2, 8, seed=seed).next_batch()
        assert inputs.tolist() == [list(range(8))] * 2 and targets.tolist() == [list(range(1, 9))] * 2


# Packing


def random_documents(seed):
    generator = np.random.default_rng(seed)
    return [generator.integers(1, 50, generator.integers(0, 30)).tolist() for _ in range(generator.integers(1, 12))]


def assert_packs(candidate):
    for seed in range(30):
        docs, T = random_documents(seed), 3 + seed % 9
        rows = candidate(docs, T, EOS)
        stream = [token for doc in docs for token in (*doc, EOS)]
        assert rows.dtype == torch.int64 and rows.shape == (-(-len(stream) // T), T)
        flat = rows.flatten().tolist()
        assert flat[: len(stream)] == stream
        assert set(flat[len(stream) :]) <= {EOS}


def test_pack_loses_nothing():
    assert_packs(pack)
    assert pack([], 4, EOS).shape == (0, 4)
    with pytest.raises(ValueError, match=r"docs\[1\]"):
        pack([[1], [2, EOS]], 4, EOS)
    with pytest.raises(ValueError, match="T"):
        pack([[1]], 0, EOS)


def drops_the_tail(docs, T, eos):
    stream = [token for doc in docs for token in (*doc, eos)]
    return torch.tensor(stream[: len(stream) // T * T], dtype=torch.int64).view(-1, T)


def pads_each_document(docs, T, eos):
    return torch.tensor([([*doc, *[eos] * T])[:T] for doc in docs])


def no_end_between(docs, T, eos):
    stream = [token for doc in docs for token in doc]
    return torch.tensor(stream + [eos] * (-len(stream) % T), dtype=torch.int64).view(-1, T)


@pytest.mark.parametrize("wrong", [drops_the_tail, pads_each_document, no_end_between])
def test_wrong_packers_fail(wrong):
    with pytest.raises(AssertionError):
        assert_packs(wrong)


def assert_masks(mask_of, positions_of):
    for seed in range(20):
        ids = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (2, 17)))
        mask, positions = mask_of(ids, EOS), positions_of(ids, EOS)
        for b in range(2):
            document, position = 0, 0
            owners = []
            for t in range(17):  # the definition, one token after the other
                owners.append(document)
                assert positions[b, t] == position
                position += 1
                if ids[b, t] == EOS:
                    document, position = document + 1, 0
            assert document_index(ids, EOS)[b].tolist() == owners
            want = [[j <= i and owners[j] == owners[i] for j in range(17)] for i in range(17)]
            assert mask[b].tolist() == want


def test_masks_and_positions_token_by_token():
    assert_masks(document_mask, document_positions)


def end_sees_the_next(ids, eos):
    index = (ids == eos).cumsum(-1)
    return (index.unsqueeze(-1) == index.unsqueeze(-2)).tril()


def not_causal(ids, eos):
    index = document_index(ids, eos)
    return index.unsqueeze(-1) == index.unsqueeze(-2)


@pytest.mark.parametrize("wrong", [end_sees_the_next, not_causal])
def test_wrong_masks_fail(wrong):
    with pytest.raises(AssertionError):
        assert_masks(wrong, document_positions)


def test_positions_that_run_on_fail():
    with pytest.raises(AssertionError):
        assert_masks(document_mask, lambda ids, eos: torch.arange(ids.shape[-1]).expand(ids.shape))


def test_a_model_behind_the_mask_reads_each_document_alone():
    """With mask and positions, attention over a packed row equals attention over its documents one by one."""
    generator = torch.Generator().manual_seed(0)
    table, places = (torch.randn(50, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    docs = [[3, 4, 5], [6], [7, 8, 9, 10]]
    row = pack(docs, 11, EOS)[0]

    def attend(ids, positions, mask):
        x = table[ids] + places[positions]
        return torch.nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    packed = attend(row, document_positions(row, EOS), document_mask(row, EOS))
    alone = []
    for doc in docs:
        ids = torch.tensor([*doc, EOS])
        alone.append(attend(ids, torch.arange(len(ids)), torch.ones(len(ids), len(ids)).tril().bool()))
    assert torch.allclose(packed, torch.cat(alone), atol=1e-12)


def test_targets_after_an_end_are_left_out():
    row = pack([[1, 2], [3]], 8, EOS)[0]
    assert document_targets(row[:-1], row[1:], EOS).tolist() == [2, EOS, IGNORE, EOS, IGNORE, IGNORE, IGNORE]
    with pytest.raises(ValueError, match="targets"):
        document_targets(row[:-1], row, EOS)
