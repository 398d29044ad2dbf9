"""The parts of a MONAI bundle's inference configuration, built only if that cannot run foreign code.

MONAI resolves ``_target_`` by importing any dotted name and ``$`` strings by ``eval``. A bundle that is not trusted is
therefore read as data first: of its configuration only the wanted parts and what they refer to are kept, every
``_target_`` there must be a class of MONAI's or torch's layers, networks, transforms or inferers, and every ``$`` must
be an expression of literals, references, arithmetic and a few harmless names.
"""

import ast
import inspect
import pydoc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ComponentLocator, ConfigParser, ReferenceResolver

from SegExplainLib.contract import UnusableModel

CONFIG_NAMES = ("inference.json", "inference.yaml", "inference.yml")
# Reading the image is ours and writing it is the pipeline's.
FILE_TRANSFORMS = ("LoadImage", "EnsureChannelFirst", "AddChannel", "SaveImage")
SAFE_MODULES = (
    "monai.networks.nets.",
    "monai.networks.blocks.",
    "monai.networks.layers.",
    "monai.transforms.",
    "monai.inferers.",
    "torch.nn.",
)
SAFE_NAMES = {
    *("torch.device", "torch.cuda.is_available", "torch.float32", "torch.float16", "torch.float64"),
    *("np.float32", "numpy.float32", "np.float64", "numpy.float64", "np.uint8", "numpy.uint8"),
    *("int", "float", "bool", "list", "tuple", "len", "min", "max", "round"),
}
SAFE_NODES = (
    *(ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.IfExp, ast.Subscript, ast.Slice, ast.Load),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.UnaryOp, ast.USub, ast.UAdd, ast.Not),
    *(ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot),
)
TRUST_HINT = "If you trust where the bundle comes from, give --trust-model."
REFERENCE = "reference_"


class BundleConfig:
    """A bundle's inference configuration, whose parts are built on demand."""

    def __init__(self, folder: Path, *, device: torch.device, trust: bool) -> None:
        """Reads the configuration; nothing is built yet.

        Raises:
            UnusableModel: it is missing or cannot be read.
        """
        self._trust = trust
        self._locator = ComponentLocator()
        paths = [folder / "configs" / name for name in CONFIG_NAMES]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise UnusableModel(
                f"The bundle {folder} lacks configs/{CONFIG_NAMES[0]} (or .yaml).", "Copy the whole bundle."
            )
        try:
            parser = ConfigParser(ConfigParser.load_config_file(path))
            parser.resolve_macro_and_relative_ids()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnusableModel(f"{path} cannot be read ({error}).", "Copy the whole bundle again.") from error
        self._folder, self._path = folder, path
        self._config = _without_file_transforms(parser.get())
        if not isinstance(self._config, dict):
            raise UnusableModel(f"{path} is no configuration: expected named parts.", "Copy the whole bundle again.")
        self._config["bundle_root"] = str(folder)
        if "device" in self._config:
            self._config["device"] = str(device)

    def has(self, part: str) -> bool:
        """True when the configuration has that part, for example ``checkpointloader::load_path``."""
        return self.raw(part) is not None

    def raw(self, part: str) -> Any:
        """The part as written, or None."""
        found: Any = self._config
        for key in part.split("::"):
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def is_safe(self, part: str) -> bool:
        """True when the part can be built without running foreign code."""
        return not any(self._faults(part))

    def built(self, *parts: str) -> list[Any]:
        """The objects that the parts describe; objects that several refer to are one and the same.

        Raises:
            UnusableModel: a part is missing, cannot be built, or may run foreign code and is not trusted.
        """
        for part in parts:
            if not self.has(part):
                raise UnusableModel(f"{self._path} lacks the part {part!r}.", "Give a bundle for inference.")
            for fault in () if self._trust else self._faults(part):
                raise UnusableModel(f"{self._path} could run foreign code: {fault}.", TRUST_HINT)
        parser = ConfigParser(self._config if self._trust else self._kept(*parts))
        try:
            with _importable(self._folder if self._trust else None), warnings.catch_warnings():
                # MONAI tells whoever wrote the bundle of coming defaults; whoever runs it can do nothing about them.
                warnings.simplefilter("ignore", category=FutureWarning)
                return [parser.get_parsed_content(part) for part in parts]
        except Exception as error:  # constructors of any class may raise anything
            reason = " ".join(str(error).split())[:300]
            raise UnusableModel(
                f"{self._path}: {', '.join(parts)} cannot be built ({type(error).__name__}: {reason}).",
                "Install the MONAI version and the optional packages that the bundle's metadata.json names.",
            ) from error

    def _kept(self, *parts: str) -> dict[str, Any]:
        """The configuration cut down to the parts and to the top-level entries that they refer to."""
        kept: dict[str, Any] = {}
        for part in parts:
            *above, name = part.split("::")
            level = kept
            for key in above:
                level = level.setdefault(key, {})
            level[name] = self.raw(part)
        waiting = list(parts)
        while waiting:
            for text in _strings(self.raw(waiting.pop())):
                if text.startswith(("@", "$")):
                    names = {name.split("::")[0] for name in ReferenceResolver.match_refs_pattern(text)}
                    new = [name for name in names if name in self._config and kept.get(name) != self._config[name]]
                    kept |= {name: self._config[name] for name in new}
                    waiting += new
        return kept

    def _faults(self, part: str) -> Iterator[str]:
        """What in the part, or in what it refers to, could run foreign code."""
        for node in _nodes(self._kept(part)):
            if isinstance(node, dict) and "_target_" in node:
                yield from self._target_faults(node)
            elif isinstance(node, str) and node.startswith("$") and not is_harmless(node):
                yield f"the expression {node!r}"
            elif isinstance(node, str) and "://" in node:
                yield f"the download {node!r}"

    def _target_faults(self, node: dict[str, Any]) -> Iterator[str]:
        target = node["_target_"]
        if node.get("_mode_", "default") != "default":
            yield f"the mode {node['_mode_']!r} of {target!r}"
        found = self._located(target) if isinstance(target, str) else None
        module = getattr(found, "__module__", "") or ""
        if (
            not inspect.isclass(found)
            or not module.startswith(SAFE_MODULES)
            or module.startswith("monai.transforms.io")
        ):
            yield f"{target!r}, which is no network, layer, transform or inferer of MONAI or torch"

    def _located(self, target: str) -> Any:
        """What MONAI would call for a ``_target_``: a name within MONAI, or a dotted path."""
        modules = self._locator.get_component_module_name(target)
        if modules is not None:
            target = f"{modules[0] if isinstance(modules, list) else modules}.{target}"
        # Only these are imported for a look; the object's own module is what counts.
        return pydoc.locate(target) if target.startswith(("monai.", "torch.nn.")) else None


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """Lets a trusted bundle import its own ``scripts``."""
    before = list(sys.path)
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def is_harmless(expression: str) -> bool:
    """True for a ``$`` string of literals, references (``@name``), arithmetic, conditions and ``SAFE_NAMES`` alone."""
    body = ReferenceResolver.id_matcher.sub(REFERENCE, ReferenceResolver.normalize_id(expression[1:]))
    try:
        tree = ast.parse(body.strip(), mode="eval")
        return _is_harmless_node(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_harmless_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        return _dotted(node.func) in SAFE_NAMES and all(_is_harmless_node(argument) for argument in arguments)
    if isinstance(node, ast.Name | ast.Attribute):
        return _dotted(node) in SAFE_NAMES or _dotted(node) == REFERENCE
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and REFERENCE in node.value:
        # MONAI replaces references inside quotes too, which ends the quotes.
        return False
    return isinstance(node, SAFE_NODES) and all(_is_harmless_node(child) for child in ast.iter_child_nodes(node))


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _without_file_transforms(config: Any) -> Any:
    """The configuration without the transforms that read and write files."""
    if isinstance(config, dict):
        return {key: _without_file_transforms(value) for key, value in config.items()}
    if isinstance(config, list):
        return [_without_file_transforms(entry) for entry in config if not _is_file_transform(entry)]
    return config


def _is_file_transform(entry: Any) -> bool:
    target = entry.get("_target_") if isinstance(entry, dict) else None
    if not isinstance(target, str):
        return False
    name = target.rsplit(".", 1)[-1]
    return any(name in (base, f"{base}d", f"{base}D", f"{base}Dict") for base in FILE_TRANSFORMS)


def _nodes(config: Any) -> Iterator[Any]:
    """Every value in a nested configuration, itself included."""
    yield config
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _nodes(value)


def _strings(config: Any) -> Iterator[str]:
    return (node for node in _nodes(config) if isinstance(node, str))
