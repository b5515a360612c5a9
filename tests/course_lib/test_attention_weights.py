"""Weights to and from transformers: its own models are the oracle, with random weights, in memory and as folders."""

import json

import pytest
import torch

from course_lib.attention import (
    GPT,
    GPTConfig,
    gpt2_settings,
    gpt2_state_from_hf,
    gpt_from_hf,
    llama_config,
    llama_settings,
    load_safetensors,
    save_safetensors,
)

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

GPT2 = {"vocab_size": 61, "n_positions": 24, "n_layer": 3, "n_head": 4, "n_embd": 32}
LLAMA = {
    "vocab_size": 61,
    "max_position_embeddings": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 72,
}


def gpt2(**changes):
    config = transformers.GPT2Config(**GPT2 | {"bos_token_id": None, "eos_token_id": None} | changes)
    return shaken(transformers.GPT2LMHeadModel(config))


def llama(**changes):
    config = transformers.LlamaConfig(**LLAMA | {"bos_token_id": None, "eos_token_id": None} | changes)
    return shaken(transformers.LlamaForCausalLM(config))


def shaken(model):
    """No bias is zero and no gain is one any more: an exchange of two of them would show."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


MODELS = {
    "gpt2": lambda: gpt2(),
    "gpt2, head of its own": lambda: gpt2(tie_word_embeddings=False),
    "gpt2, other widths": lambda: gpt2(n_inner=40, layer_norm_epsilon=1e-3, activation_function="gelu_pytorch_tanh"),
    "llama, every head its keys": lambda: llama(),
    "llama, tied": lambda: llama(tie_word_embeddings=True, rms_norm_eps=1e-3),
    "llama, two heads share": lambda: llama(num_key_value_heads=2, rope_theta=500.0),
    "llama, one key head": lambda: llama(num_key_value_heads=1, tie_word_embeddings=True),
    "llama, with biases": lambda: llama(attention_bias=True, mlp_bias=True, num_key_value_heads=2),
    "llama, wide heads": lambda: llama(head_dim=12, num_key_value_heads=2),
}


@pytest.fixture(params=MODELS, ids=lambda name: name)
def theirs(request):
    return MODELS[request.param]()


def logits(model, ids):
    with torch.no_grad():
        out = model(ids)
    return out if isinstance(out, torch.Tensor) else out.logits


IDS = torch.randint(61, (2, 24), generator=torch.Generator().manual_seed(1))


def test_their_model_gives_the_same_logits_as_ours(theirs):
    ours = gpt_from_hf(theirs.config.to_dict(), theirs.state_dict()).eval()
    assert logits(theirs, IDS).std() > 0.1
    torch.testing.assert_close(logits(ours, IDS), logits(theirs, IDS), atol=1e-4, rtol=0)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_our_copy_is_a_copy(theirs):
    before = logits(theirs, IDS)
    ours = gpt_from_hf(theirs.config.to_dict(), theirs.state_dict())
    assert all(p.requires_grad and p.is_contiguous() for p in ours.parameters())
    ours(IDS, targets=IDS).backward()  # every weight is in use
    assert all(p.grad is not None for p in ours.parameters())
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert torch.equal(logits(theirs, IDS), before)


def test_a_folder_that_they_wrote_is_read(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(load_safetensors(tmp_path), IDS), logits(theirs, IDS), atol=1e-4, rtol=0)


def test_a_folder_that_they_wrote_in_several_files_is_read(tmp_path):
    theirs = llama()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    torch.testing.assert_close(logits(load_safetensors(tmp_path), IDS), logits(theirs, IDS), atol=1e-4, rtol=0)


def test_a_folder_that_we_wrote_is_read_by_them(theirs, tmp_path):
    ours = gpt_from_hf(theirs.config.to_dict(), theirs.state_dict())
    save_safetensors(ours, tmp_path / "new" / "folder")
    again, info = type(theirs).from_pretrained(tmp_path / "new" / "folder", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    torch.testing.assert_close(logits(again.eval(), IDS), logits(theirs, IDS), atol=1e-5, rtol=0)
    back = load_safetensors(tmp_path / "new" / "folder")
    assert back.cfg == ours.cfg
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name


@pytest.mark.parametrize(
    "cfg",
    [
        GPTConfig.gpt2(vocab_size=50, context_length=8, n_layers=2, n_heads=2, d_model=8),
        GPTConfig.llama(vocab_size=50, context_length=8, n_layers=2, n_heads=4, n_kv_heads=2, d_model=16, d_ff=None),
    ],
    ids=["gpt2", "llama"],
)
def test_a_model_of_ours_goes_there_in_bfloat16(cfg, tmp_path):
    model = GPT(cfg).to(torch.bfloat16)
    save_safetensors(model, tmp_path)
    ids = torch.arange(8)[None]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert theirs.dtype == torch.bfloat16 and next(load_safetensors(tmp_path).parameters()).dtype == torch.bfloat16
    torch.testing.assert_close(logits(theirs, ids), logits(model, ids), atol=0.02, rtol=0)


def test_the_published_gpt2_file_lacks_a_prefix_and_holds_masks():
    theirs = gpt2()
    state = {name.removeprefix("transformer."): tensor for name, tensor in theirs.state_dict().items()}
    del state["lm_head.weight"]
    for i in range(3):
        state |= {f"h.{i}.attn.bias": torch.ones(1, 1, 24, 24).tril(), f"h.{i}.attn.masked_bias": torch.tensor(-1e4)}
    ours = gpt_from_hf(GPT2 | {"model_type": "gpt2"}, state)
    torch.testing.assert_close(logits(ours, IDS), logits(theirs, IDS), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda w: w.reshape(3, 4, 8, 32).transpose(0, 1).reshape(96, 32),  # c_attn read as one q, k, v per head
        lambda w: w.flip(0),
        lambda w: w.roll(32, 0),  # k, v, q
    ],
)
def test_the_order_in_c_attn_matters(wrong):
    theirs = gpt2()
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    for i in range(3):
        name = f"transformer.h.{i}.attn.c_attn.weight"
        state[name] = wrong(state[name].T).T
    ours = gpt_from_hf(theirs.config.to_dict(), state)
    assert (logits(ours, IDS) - logits(theirs, IDS)).abs().max() > 1e-2


@pytest.mark.parametrize(
    "rope, base",
    [
        ({}, 10000.0),
        ({"rope_theta": 777}, 777.0),
        ({"rope_theta": 777.0, "rope_scaling": None}, 777.0),
        ({"rope_parameters": {"rope_theta": 888.0, "rope_type": "default"}}, 888.0),
        ({"rope_parameters": {"rope_theta": 888.0}, "rope_theta": 777.0}, 888.0),
        ({"rope_theta": 777.0, "rope_scaling": {"rope_type": "default"}}, 777.0),
    ],
)
def test_the_base_of_rope_is_found_where_it_is_written(rope, base):
    cfg = llama_config(LLAMA | rope)
    assert cfg.rope_base == base
    assert transformers.LlamaConfig(**LLAMA | rope).rope_parameters["rope_theta"] == base  # they agree
    assert llama_config(llama_settings(cfg)) == cfg


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"model_type": "bert"}, "model_type"),
        (LLAMA | {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2.0}}, "type"),
        (LLAMA | {"model_type": "llama", "rope_parameters": {"rope_type": "llama3"}}, "rope_type"),
        (LLAMA | {"model_type": "llama", "attention_bias": True}, "mlp_bias"),
        (LLAMA | {"model_type": "llama", "hidden_act": "gelu"}, "hidden_act"),
        (GPT2 | {"model_type": "gpt2", "activation_function": "relu"}, "activation_function"),
        (GPT2 | {"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ],
)
def test_what_we_cannot_do_is_refused(settings, message):
    with pytest.raises(ValueError, match=f"settings: expected .*{message}"):
        gpt_from_hf(settings, {})


def test_weights_that_do_not_belong_are_named():
    theirs = gpt2()
    state, settings = theirs.state_dict(), theirs.config.to_dict()
    with pytest.raises(ValueError, match=r"ln_f.bias"):
        gpt_from_hf(settings, {k: v for k, v in state.items() if not k.endswith("ln_f.bias")})
    with pytest.raises(ValueError, match=r"shape \(61, 32\) for wte.weight, got \(60, 32\)"):
        gpt_from_hf(settings, state | {"transformer.wte.weight": torch.zeros(60, 32)})
    with pytest.raises(ValueError, match=r"h.3.ln_1.weight as well"):
        gpt_from_hf(settings, state | {"transformer.h.3.ln_1.weight": torch.zeros(32)})
    theirs = llama()
    state, settings = theirs.state_dict(), theirs.config.to_dict()
    with pytest.raises(ValueError, match=r"model.norm.weight"):
        gpt_from_hf(settings, {k: v for k, v in state.items() if k != "model.norm.weight"})
    with pytest.raises(ValueError, match="extra as well"):
        gpt_from_hf(settings, state | {"extra": torch.zeros(1)})
    gpt_from_hf(settings, state | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)})


@pytest.mark.parametrize(
    "cfg",
    [
        GPTConfig(9, 8, 1, 2, 4, positions="alibi"),
        GPTConfig(9, 8, 1, 2, 4, window=2),
        GPTConfig(9, 8, 1, 2, 4, attention_only=True),
        GPTConfig(9, 8, 1, 2, 4, n_kv_heads=1),
        GPTConfig(9, 8, 1, 2, 4, pre=False),
        GPTConfig(9, 8, 1, 2, 4, norm="rms"),
        GPTConfig.llama(n_heads=2, d_model=4, window=3),
    ],
)
def test_a_model_that_is_neither_is_not_written(cfg, tmp_path):
    if cfg.d_model == 4:
        cfg = GPTConfig(**vars(cfg) | {"vocab_size": 9, "n_layers": 1, "d_ff": 8})
    with pytest.raises(ValueError, match="cfg: expected"):
        save_safetensors(GPT(cfg), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_folders_without_a_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config.json"):
        load_safetensors(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(GPT2 | {"model_type": "gpt2"}))
    with pytest.raises(ValueError, match=r"model.safetensors"):
        load_safetensors(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(ValueError, match="other"):
        load_safetensors(tmp_path)


def test_the_published_sizes_are_understood():
    assert GPTConfig.gpt2() == GPTConfig(**vars(GPTConfig.gpt2()))
    config = transformers.GPT2Config()
    assert {k: v for k, v in gpt2_settings(GPTConfig.gpt2()).items() if k in ("n_layer", "n_head", "n_positions")} == {
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_positions": config.n_positions,
    }
    assert llama_config(transformers.LlamaConfig().to_dict()).d_ff == GPTConfig.llama().d_ff
    with pytest.raises(ValueError, match="wte"):
        gpt2_state_from_hf({}, GPTConfig.gpt2())
