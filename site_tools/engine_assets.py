"""The engine for web pages: C compiled to WebAssembly, kept in the package, and put into the site.

`make engine-wasm` compiles it. Beside it lies what it was made from, as a digest of the sources, so
that a build of the site notices when these have changed since. Its own bytes are not compared with
those of another compilation: compilers differ.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ENGINE = Path(__file__).parents[1] / "mnist_steps" / "engine"
WASM, NOTES = ENGINE / "engine.wasm", ENGINE / "engine.json"
ADDRESS = "javascripts/engine/engine.wasm"
LARGEST = 60_000  # bytes

RENEW = "Renew it with: make engine-wasm"
# A reactor has no main. Not -march: what every browser with WebAssembly's vectors can run.
FLAGS = (
    "--target=wasm32-wasi", "-mexec-model=reactor", "-std=gnu11", "-O3", "-msimd128",
    "-fvisibility=hidden", "-Wl,--export-dynamic", "-Wl,--strip-all",
)  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add engine.wasm to the site. Raises PluginError when it is stale or damaged."""
    found = problem()
    if found:
        raise PluginError(found)
    files.append(File.generated(config, ADDRESS, abs_src_path=str(WASM)))
    return files


def problem() -> str | None:
    """Why the package's engine.wasm is not what its sources say, in one line; None when it is."""
    try:
        notes = json.loads(NOTES.read_text(encoding="utf-8"))
        wasm = WASM.read_bytes()
        made_from, digest = notes["sources"], notes["wasm"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{WASM.name} or {NOTES.name} cannot be read ({error!r}). {RENEW}"
    if made_from != digest_of_sources():
        return f"{WASM.name} is older than the engine's C sources. {RENEW}"
    if digest != hashlib.sha256(wasm).hexdigest():
        return f"{WASM.name} is damaged. {RENEW}"
    return None


def digest_of_sources() -> str:
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for source in sorted(ENGINE.glob("*.[ch]")):
        content = source.read_text(encoding="utf-8").encode()  # line ends alike on every system
        digest.update(f"{source.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def compile_to(target: Path) -> None:
    """Compile the sources. Raises RuntimeError when there is no compiler for it."""
    sources = [str(source) for source in sorted(ENGINE.glob("*.c"))]
    problems = []
    for command in _compilers():
        done = subprocess.run(
            [*command, *FLAGS, "-o", str(target), *sources], capture_output=True, text=True
        )
        if done.returncode == 0:
            return
        problems.append(f"{' '.join(command[-2:])}: {done.stderr.strip()[:500]}")
    raise RuntimeError(
        "no compiler for WebAssembly: pip install ziglang, or install clang with wasm-ld and a "
        "C library for wasm32-wasi (Debian: lld, wasi-libc, libclang-rt-dev-wasm32).\n"
        + "\n".join(problems)
    )


def _compilers() -> list[list[str]]:
    clang = shutil.which("clang")
    package = [sys.executable, "-m", "ziglang", "cc"] if find_spec("ziglang") else None
    return [command for command in (package, clang and [clang]) if command]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "engine.wasm")
        try:
            compile_to(made)
        except RuntimeError as error:
            sys.exit(f"engine-wasm: {error}")
        wasm = made.read_bytes()
    if len(wasm) > LARGEST:
        sys.exit(f"engine-wasm: it has {len(wasm):,} bytes, at most {LARGEST:,} are wanted")
    WASM.write_bytes(wasm)
    notes = {"sources": digest_of_sources(), "wasm": hashlib.sha256(wasm).hexdigest()}
    NOTES.write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    print(f"{WASM.name}: {len(wasm):,} bytes")


if __name__ == "__main__":
    main()
