"""How the C++ engine is compiled: flags, files, ninja. Used by setup.py and by the sanitizer tests."""

import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent
X86 = platform.machine().lower() in ("x86_64", "amd64")

# Every rounding must happen as written (the sampling rule), and one binary must run on every processor.
FLAGS = "-std=c++17 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -Wall -Wextra -Wno-psabi".split()
LEVEL_FLAGS = {
    "_avx2.cpp": ["-mavx2"],
    "_avx512.cpp": [
        "-mavx512f",
        "-mavx512bw",
        "-mavx512vl",
        "-mavx512dq",
        "-mprefer-vector-width=512",
        "-Wno-maybe-uninitialized",
    ],
}


def sources() -> list[Path]:
    """Every C++ file of the engine that this processor family can use, relative to the root."""
    found = sorted(path.relative_to(ROOT) for path in (ROOT / "csrc").rglob("*.cpp"))
    return [path for path in found if X86 or not path.name.endswith(tuple(LEVEL_FLAGS))]


def engine_flags() -> list[str]:
    """What every file is compiled with, but for the level of optimisation and the include folders of others."""
    return [*FLAGS, f"-I{ROOT / 'csrc'}", *(["-DDISSECT_X86_LEVELS"] if X86 else [])]


def compiler() -> str | None:
    """The C++ compiler: $CXX, else the first usual name on the PATH; None where there is none."""
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    return next((name for name in candidates if shutil.which(shlex.split(name)[0])), None)


def write_ninja(folder: Path, target: Path, files: list[Path], compile_flags: list[str], link_flags: list[str]) -> None:
    """Writes folder/build.ninja, which makes `target` of files (relative to the root)."""
    cxx = compiler()
    lines = [
        f"flags = {shlex.join(compile_flags)} {os.environ.get('CXXFLAGS', '')}",
        f"rule cxx\n  command = {cxx} -MMD -MF $out.d $flags $level -c $in -o $out\n"
        "  depfile = $out.d\n  deps = gcc\n  description = compile $in",
        f"rule link\n  command = {cxx} $in -o $out {shlex.join(link_flags)} {os.environ.get('LDFLAGS', '')}\n"
        "  description = link $out",
    ]
    objects = []
    for path in files:
        level = next((flags for suffix, flags in LEVEL_FLAGS.items() if path.name.endswith(suffix)), [])
        objects.append(_quoted(folder / path.with_suffix(".o")))
        lines.append(f"build {objects[-1]}: cxx {_quoted(ROOT / path)}\n  level = {shlex.join(level)}")
    lines.append(f"build {_quoted(target)}: link {' '.join(objects)}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def run_ninja(folder: Path) -> None:
    """Compiles side by side, and only what changed.

    Raises:
        subprocess.CalledProcessError: a file does not compile; ninja has said which.
    """
    from ninja import BIN_DIR

    subprocess.run([Path(BIN_DIR) / "ninja", "--quiet", "-C", str(folder)], check=True)


def _quoted(path: Path) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")
