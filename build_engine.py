"""How the engines are compiled: flags, files, ninja. Used by setup.py and by the tests of the C++ and CUDA code.

`python build_engine.py` compiles them ahead, beside whatever else there is to do; setup.py finds what is compiled.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# Where compiled files are kept, and found again by whoever compiles the same sources next, as the wheel does after the
# tree. Paths in commands are relative to the root for that.
OBJECTS = Path(os.environ.get("DISSECT_OBJECTS") or ROOT / "build" / "objects").resolve()
CUDA_FOLDER = OBJECTS / "cuda"
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

# Machine code for these, and what a driver can make code for later devices of. No fused multiply-add, no fast math:
# every rounding happens as written.
NVCC_FLAGS = (
    "-O3 -std=c++17 --fmad=false -lineinfo -Xptxas -v "
    "-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90] "
    "-Xcompiler -fPIC,-fvisibility=hidden,-ffp-contract=off,-fno-math-errno,-Wall,-Wextra"
).split()


def sources() -> list[Path]:
    """Every C++ file of the CPU engine that this processor family can use, relative to the root."""
    found = sorted(path.relative_to(ROOT) for path in (ROOT / "csrc").rglob("*.cpp") if path.parent.name != "cuda")
    return [path for path in found if X86 or not path.name.endswith(tuple(LEVEL_FLAGS))]


def cuda_sources() -> list[Path]:
    """Every file of the CUDA engine, relative to the root."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / "csrc/cuda").iterdir() if path.suffix in (".cu", ".cpp"))


def engine_flags() -> list[str]:
    """What every file is compiled with, but for the level of optimisation and the include folders of others."""
    return [*FLAGS, "-Icsrc", *(["-DDISSECT_X86_LEVELS"] if X86 else [])]


def python_flags() -> list[str]:
    """What bindings.cpp alone is compiled with.

    pybind11 lies elsewhere in each isolated build, and newer than any object: found through a link that is named by its
    version, and as a system's header, which nobody asks for its time, it lets what was compiled with it be found again.
    """
    import pybind11

    link = OBJECTS / f"pybind11-{pybind11.__version__}"
    link.parent.mkdir(parents=True, exist_ok=True)
    own = link.with_name(f"{link.name}.{os.getpid()}")
    own.symlink_to(pybind11.get_include())
    own.replace(link)
    return [f"-I{sysconfig.get_path('include')}", f"-isystem{link}"]


def compiler() -> str | None:
    """The C++ compiler: $CXX, else the first usual name on the PATH; None where there is none."""
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    return next((name for name in candidates if shutil.which(shlex.split(name)[0])), None)


def nvcc() -> str | None:
    """CUDA's compiler: that of $CUDA_HOME, else the one on the PATH or in the usual place; None where there is none.

    DISSECT_CUDA=0 hides it.
    """
    if os.environ.get("DISSECT_CUDA") == "0":
        return None
    home = os.environ.get("CUDA_HOME")
    candidates = [f"{home}/bin/nvcc"] if home else ["nvcc", "/usr/local/cuda/bin/nvcc"]
    return next((found for found in map(shutil.which, candidates) if found), None)


def build(name: str, target: Path) -> None:
    """Makes the extension `dissect._C` or `dissect._cuda`; whoever else makes it meanwhile is waited for.

    Raises:
        subprocess.CalledProcessError: see `run_ninja`.
    """
    from fcntl import LOCK_EX, flock  # which Windows lacks, where nothing is built

    cuda = name == "dissect._cuda"
    folder = CUDA_FOLDER if cuda else OBJECTS / "cpp"
    folder.mkdir(parents=True, exist_ok=True)
    compile_flags = ["-O3", *engine_flags()]
    shared = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared", "-pthread"]
    with (folder / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if cuda:
            write_cuda_ninja(folder, target, compile_flags)
        else:
            write_ninja(folder, target, sources(), compile_flags, shared)
        run_ninja(folder)


def write_cuda_ninja(folder: Path, target: Path, compile_flags: list[str]) -> None:
    """Writes folder/build.ninja, which makes the extension dissect._cuda; beside each .cu.o a report of registers.

    The flags are for bindings.cpp. CUDA's runtime is linked in; the driver is looked for when it is first needed.
    """
    command = [str(nvcc()), "-ccbin", shlex.split(str(compiler()))[-1]]  # the words before it are a cache's, as ccache
    link_flags = ["-shared", "-cudart", "static", *for_nvcc(os.environ.get("LDFLAGS", ""))]
    write_ninja(folder, target, cuda_sources(), compile_flags, link_flags, nvcc=[*command, *NVCC_FLAGS], linker=command)


def for_nvcc(flags: str) -> list[str]:
    """Flags of the host compiler when it links, as nvcc takes them."""
    words = []
    for word in shlex.split(flags):
        if word.startswith("-Wl,"):
            words += [each for part in word.split(",")[1:] for each in ("-Xlinker", part)]
        else:
            words += [word] if word.startswith(("-L", "-l")) else ["-Xcompiler", word]
    return words


def write_ninja(
    folder: Path,
    target: Path,
    files: list[Path],
    compile_flags: list[str],
    link_flags: list[str],
    nvcc: list[str] | None = None,
    linker: list[str] | None = None,
) -> None:
    """Writes folder/build.ninja, which makes `target` of files (relative to the root, where ninja runs).

    Files in CUDA C++ are compiled by the command `nvcc`; without one, as C++.
    """
    cxx = compiler()
    lines = [
        f"builddir = {_quoted(folder)}",
        f"flags = {shlex.join(compile_flags)} {os.environ.get('CXXFLAGS', '')}",
        f"rule cxx\n  command = {cxx} -MMD -MF $out.d $flags $level -c $in -o $out\n"
        "  depfile = $out.d\n  deps = gcc\n  description = compile $in",
        f"rule link\n  command = {shlex.join(linker) if linker else cxx} $in -o $out {shlex.join(link_flags)} "
        f"{'' if linker else os.environ.get('LDFLAGS', '')}\n  description = link $out",
        f"rule nvcc\n  command = {shlex.join(nvcc or [])} -MD -MF $out.d -c $in -o $out >$out.txt 2>&1 "
        "|| { cat $out.txt; false; }\n  depfile = $out.d\n  deps = gcc\n  description = compile $in",
    ]
    objects = []
    for path in files:
        level = next((flags for suffix, flags in LEVEL_FLAGS.items() if path.name.endswith(suffix)), [])
        rule = "nvcc" if path.suffix == ".cu" and nvcc else "cxx"
        level = ["-x", "c++"] if path.suffix == ".cu" else level
        level = python_flags() if path.name == "bindings.cpp" else level
        objects.append(_quoted(folder / f"{path}.o"))
        lines.append(f"build {objects[-1]}: {rule} {_quoted(path)}\n  level = {shlex.join(level)}")
    lines.append(f"build {_quoted(target)}: link {' '.join(objects)}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def run_ninja(folder: Path) -> None:
    """Compiles side by side, and only what changed.

    Raises:
        subprocess.CalledProcessError: a file does not compile; ninja has said which.
    """
    from ninja import BIN_DIR

    subprocess.run([Path(BIN_DIR) / "ninja", "--quiet", "-C", ROOT, "-f", folder / "build.ninja"], check=True)


def _quoted(path: Path) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


if __name__ == "__main__":
    if compiler():
        build("dissect._C", OBJECTS / "early.so")
    if compiler() and nvcc():
        build("dissect._cuda", OBJECTS / "early_cuda.so")
