"""What the tree promises: imports run one way, importing changes nothing, the wheel is complete.

The sources are parsed, not imported, wherever that is enough.
"""

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each may import itself and what stands before it.
PACKAGES = ("ops", "sam2_core", "sam2ray", "jobs")
SHIPPED = ("ops", "sam2_core", "sam2ray")
WITHOUT_RAY = ("ops", "sam2_core")

# Inside the core: a part, and the parts of the core it may import.
CORE_PARTS = {
    "layers": {"layers"},
    "network": {"network", "layers", "data", "config", "errors"},
    "inference": {"inference", "network", "layers", "data", "config", "errors"},
    "learning": {"learning", "inference", "network", "layers", "data", "config", "errors"},
    "data": {"errors"},
    "config": {"errors"},
    "errors": set(),
}

EVERYWHERE = {*sys.stdlib_module_names, "torch", "numpy", "PIL"}
WHERE_USED = {"torchvision", "safetensors", "fsspec", "av"}
USERS = ("sam2_core/checkpoint", "sam2_core/download", "sam2_core/inference/frame_sources")

PUBLIC_NAMES = (
    "RELEASED",
    "build_sam2",
    "load_sam2",
    "load_checkpoint",
    "export_checkpoint",
    "Prompt",
    "FramePrompt",
    "ImageSegmenter",
    "MaskGenerator",
    "AutoMaskConfig",
    "VideoTracker",
    "TrackingConfig",
)


@dataclass(frozen=True)
class Import:
    """One imported module (or name of a package) and how it was written."""

    path: str
    line: int
    module: str  # absolute, whatever was written
    name: str  # "" for `import module`
    relative: bool
    at_import: bool  # runs when the file is imported: outside functions and TYPE_CHECKING

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def dotted(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.dotted}"


def files_of(*packages: str) -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*.py")
    )


@cache
def imports_of(path: str) -> list[Import]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=path)
    return list(_walk(tree, path, at_import=True))


def _walk(node: ast.AST, path: str, *, at_import: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(path, node.lineno, alias.name, "", False, at_import)
    elif isinstance(node, ast.ImportFrom):
        module = _absolute(node, path)
        for alias in node.names:
            yield Import(path, node.lineno, module, alias.name, node.level > 0, at_import)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.body:
            yield from _walk(child, path, at_import=False)
        for child in node.orelse:
            yield from _walk(child, path, at_import=at_import)
    else:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_import = False
        for child in ast.iter_child_nodes(node):
            yield from _walk(child, path, at_import=at_import)


def _absolute(node: ast.ImportFrom, path: str) -> str:
    if node.level == 0:
        return node.module or ""
    package = Path(path).parts[: -node.level]
    return ".".join((*package, *([node.module] if node.module else [])))


def core_part(dotted: str) -> str:
    """`sam2_core.network.hiera.Hiera` -> `network`; the package itself -> ``."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def public_names_of(package: str) -> set[str]:
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{package}/__init__.py assigns no literal __all__")


def one_per_file(*packages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", files_of(*packages))


def expect_none(offenders: list) -> None:
    if offenders:
        pytest.fail("\n".join(map(str, offenders)), pytrace=False)


# ---------------------------------------------------------------- the direction of imports


@pytest.mark.parametrize("package", WITHOUT_RAY)
def test_the_packages_that_everything_else_stands_on_exist(package):
    assert (ROOT / package / "__init__.py").is_file()
    assert len(files_of(package)) > 1


@one_per_file(*PACKAGES)
def test_imports_run_one_way_from_ops_to_jobs(path):
    rank = PACKAGES.index(Path(path).parts[0])
    later = PACKAGES[rank + 1 :]
    expect_none([found for found in imports_of(path) if found.package in (*later, "tests")])


@one_per_file("sam2_core")
def test_inside_the_core_layers_serve_network_and_network_serves_inference(path):
    part = core_part(path.removesuffix(".py").replace("/", "."))
    allowed = CORE_PARTS.get(part)
    if allowed is None:  # __init__, checkpoint and the like stand above the parts
        return
    of_the_core = [found for found in imports_of(path) if found.package == "sam2_core"]
    expect_none([found for found in of_the_core if core_part(found.dotted) not in allowed])


@one_per_file(*WITHOUT_RAY)
def test_only_sam2ray_and_jobs_import_ray(path):
    expect_none([found for found in imports_of(path) if found.package == "ray"])


@one_per_file(*PACKAGES)
def test_only_the_kernels_of_ops_import_triton(path):
    if not path.startswith("ops/kernels"):
        expect_none([found for found in imports_of(path) if found.package == "triton"])


@one_per_file("ops")
def test_ops_imports_itself_relatively(path):
    own = [found for found in imports_of(path) if found.package == "ops"]
    expect_none([found for found in own if not found.relative])


@one_per_file(*PACKAGES[1:])
def test_outside_ops_only_its_top_level_names_are_used(path):
    of_ops = [found for found in imports_of(path) if found.package == "ops"]
    public = {"ops", *(f"ops.{name}" for name in public_names_of("ops"))}
    expect_none([found for found in of_ops if found.dotted not in public])


@one_per_file(*WITHOUT_RAY)
def test_ops_and_the_core_import_nothing_beyond_their_few_dependencies(path):
    own_kernels = {"triton"} if path.startswith("ops/kernels") else set()
    known = EVERYWHERE | WHERE_USED | own_kernels | set(WITHOUT_RAY)
    expect_none([found for found in imports_of(path) if found.package not in known])


@one_per_file(*WITHOUT_RAY)
def test_what_few_processes_need_is_loaded_only_where_it_is_used(path):
    if not path.startswith(USERS):
        loaded = [found for found in imports_of(path) if found.at_import]
        expect_none([found for found in loaded if found.package in WHERE_USED])


def test_the_core_checks_for_a_foreign_ops_before_it_imports_anything_else():
    found = [found for found in imports_of("sam2_core/__init__.py") if found.module != "__future__"]
    assert found[0].dotted.startswith("sam2_core._check_ops"), str(found[0])


# ---------------------------------------------------------------- the shape of the tree


@one_per_file(*PACKAGES)
def test_a_source_file_stays_within_400_lines(path):
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{path}:{lines} is too far down: is there a second noun in it?"


def test_no_folder_of_tests_is_a_package_because_it_would_shadow_ours():
    expect_none([path.relative_to(ROOT) for path in (ROOT / "tests").rglob("__init__.py")])


# ---------------------------------------------------------------- what importing does

IMPORT_CHANGES_NOTHING = """
import importlib, logging, sys, warnings
import numpy as np, torch

def settings():
    return {
        "threads": torch.get_num_threads(),
        "interop threads": torch.get_num_interop_threads(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "grad": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "torch random state": torch.get_rng_state().tolist(),
        "numpy random state": np.random.get_state()[1].tolist(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "cudnn": torch.backends.cudnn.enabled,
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "cudnn deterministic": torch.backends.cudnn.deterministic,
        "cudnn tf32": torch.backends.cudnn.allow_tf32,
        "matmul tf32": torch.backends.cuda.matmul.allow_tf32,
        "flash attention": torch.backends.cuda.flash_sdp_enabled(),
        "efficient attention": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "math attention": torch.backends.cuda.math_sdp_enabled(),
        "cuda initialised": torch.cuda.is_initialized(),
        "warning filters": list(warnings.filters),
        "log level": logging.getLogger().level,
        "log handlers": list(logging.getLogger().handlers),
    }

def no_network(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(no_network)
for package in sys.argv[1:]:
    before = settings()
    importlib.import_module(package)
    after = settings()
    changed = sorted(name for name in before if before[name] != after[name])
    if changed:
        sys.exit(f"import {package} changed: {', '.join(changed)}")
"""


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_importing_touches_no_global_setting_no_gpu_and_no_network():
    result = run_python(IMPORT_CHANGES_NOTHING, *WITHOUT_RAY)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_the_core_offers_the_name_that_others_build_on(name):
    import sam2_core

    assert name in sam2_core.__all__
    assert hasattr(sam2_core, name)


@pytest.mark.parametrize("package", WITHOUT_RAY)
def test_every_name_that_a_package_declares_public_exists(package):
    module = __import__(package)
    expect_none([f"{package}.{name}" for name in module.__all__ if not hasattr(module, name)])


# ---------------------------------------------------------------- what ships


def shipped_files() -> set[str]:
    def files_below(folder: str) -> Iterator[Path]:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)

    sources = {path.as_posix() for package in SHIPPED for path in files_below(package)}
    return sources | {f"sam2ray/{path.as_posix()}" for path in files_below("configs")}


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_the_configs_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    built = subprocess.run(
        [*command, "-w", tmp_path, ROOT], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert built.returncode == 0, built.stderr

    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {name for name in names if ".dist-info/" not in name} == shipped_files()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
