"""That compute-sanitizer watches the kernels which the filter means: it must find an error that is planted here."""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from gpu_stages import FOUND, found, sanitizer

PROGRAM = """
namespace dissect {
__global__ void planted(int* numbers) { numbers[1024 + threadIdx.x] = 1; }
}
int main() {
  int* numbers = nullptr;
  if (cudaMalloc(&numbers, sizeof(int)) != cudaSuccess) return 1;
  dissect::planted<<<1, 32>>>(numbers);
  return cudaDeviceSynchronize() != cudaSuccess;
}
"""

with tempfile.TemporaryDirectory() as folder:
    source, program = Path(folder) / "planted.cu", Path(folder) / "planted"
    source.write_text(PROGRAM)
    subprocess.run([found("nvcc") or "nvcc", "-o", program, source], check=True)
    tool, *options = sanitizer("memcheck")
    code = subprocess.run([found(tool) or tool, *options, program], check=False).returncode
print(f"compute-sanitizer exits with {code}, and must with {FOUND}")
sys.exit(code != FOUND)
