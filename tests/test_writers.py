"""Who writes: nothing but ulna.core.io opens, renames or removes what another stage may read."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The commands of ulna.team write no stage's output.
FILES = sorted(
    path
    for folder in ("src/ulna", "stages")
    for path in (ROOT / folder).rglob("*.py")
    if path.parent.name != "team"
)
HOME = ROOT / "src/ulna/files.py"
# What gives a name that nobody reads until the block has ended well.
GIVERS = {"replacing", "replacing_folder"}
# Methods and functions that change a disk, by their last name: a call of one of them is a write.
WRITES = {
    "chmod", "copy", "copy2", "copyfile", "copytree", "dump", "hardlink_to", "imsave", "imwrite",
    "link", "makedirs", "memmap", "mkdir", "mkfifo", "move", "open_memmap", "removedirs",
    "renames", "rmdir", "rmtree", "save", "save_model", "save_weights", "savefig", "savetxt",
    "savez", "savez_compressed", "symlink", "symlink_to", "to_csv", "to_excel", "to_feather",
    "to_hdf", "to_json", "to_parquet", "to_pickle", "to_sql", "tofile", "touch", "truncate",
    "unlink", "utime", "write_bytes", "write_csv", "write_image", "write_json", "write_text",
}  # fmt: skip
# Also of other things: strings have `replace` with two arguments, tables `copy` and `rename`.
OF_PATHS = {"rename", "replace"}
OF_TABLES = {"copy"}
# The functions of ulna.core.io replace whole files themselves.
SAFE = {"write_csv", "write_json", "write_text"}
# File, call -> why it may.
EXCEPTIONS = {
    ("src/ulna/processes.py", "lock.parent.mkdir(parents=True, exist_ok=True)"): "locks: no output",
    ("src/ulna/networks/checkpoints.py", "np.savez(body, **arrays)"): "into memory",
    ("src/ulna/networks/checkpoints.py", "other.unlink()"): "checkpoints are no output",
    ("src/ulna/networks/checkpoints.py", "path.unlink()"): "the same",
    ("src/ulna/networks/checkpoints.py", "path.unlink(missing_ok=True)"): "the same",
    (
        "src/ulna/networks/checkpoints.py",
        "shutil.rmtree(folder, ignore_errors=True)",
    ): "checkpoints are no output",
    (
        "src/ulna/networks/resume.py",
        "self.checkpoints.save(epoch + 1, State(values, arrays))",
    ): "through replacing, in ulna.networks.checkpoints",
    (
        "src/ulna/data/cache.py",
        'np.lib.format.open_memmap(path, mode="r")',
    ): "reads",
    (
        "src/ulna/data/cache_writer.py",
        'np.lib.format.open_memmap(files[part], mode="w+", dtype=np.uint8, shape=shape)',
    ): "in the folder that build_cache got from replacing_folder",
    (
        "src/ulna/data/cache_writer.py",
        'job.file.open("r+b")',
    ): "in that folder, by the processes that share the work",
    (
        "src/ulna/phantom/tree.py",
        "path.parent.mkdir(parents=True, exist_ok=True)",
    ): "in the folder that write_phantom got from replacing_folder, by its processes",
    (
        "src/ulna/phantom/tree.py",
        "picture.save(path, compress_level=1, compress_type=zlib.Z_RLE)",
    ): "in that folder",
    (
        "src/ulna/phantom/tree.py",
        '(folder / f"{split}_{kind}.csv").write_text(text, encoding="utf-8", newline="\\n")',
    ): "in that folder",
}


def given(tree: ast.AST) -> set[str]:
    """The names that `with replacing(...) as name` binds."""
    return {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.context_expr, ast.Call)
        and isinstance(item.context_expr.func, ast.Name)
        and item.context_expr.func.id in GIVERS
        and isinstance(item.optional_vars, ast.Name)
    }


def writes(call: ast.Call) -> bool:
    """Whether a call may change the disk otherwise than by ulna.core.io."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "open":
        words = [value for value in ast.walk(call) if isinstance(value, ast.Constant)]
        return any(
            isinstance(word.value, str) and set(word.value) & set("wax+") and len(word.value) <= 3
            for word in words
        )
    if name in SAFE and isinstance(call.func, ast.Name):
        return False
    if name in OF_PATHS:
        return len(call.args) == 1 and not call.keywords
    if name in OF_TABLES:
        return bool(call.args)
    if name == "remove":  # lists have it too
        return ast.unparse(call.func) == "os.remove"
    return name in WRITES


def unsafe_calls(source: str) -> list[str]:
    """The calls that write elsewhere than under a name given by ulna.core.io."""
    found = []
    for function in ast.parse(source).body:
        names = given(function)
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not writes(call):
                continue
            used = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
            if not used & names:
                found.append(ast.get_source_segment(source, call) or "")
    return found


@pytest.mark.promise("C19")
def test_every_output_is_published_by_renaming():
    """Whatever is written goes to a name that `replacing` or `replacing_folder` gave."""
    found = {
        (str(path.relative_to(ROOT)), call)
        for path in FILES
        if path != HOME
        for call in unsafe_calls(path.read_text())
    }
    assert found == set(EXCEPTIONS), "write to a path given by replacing(), or say why not here"


@pytest.mark.parametrize(
    "line",
    [
        "table.to_csv(path)",
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('r+b')",
        "path.write_text('x')",
        "figure.savefig(path)",
        "np.save(path, array)",
        "partial.replace(path)",
        "path.unlink()",
        "shutil.rmtree(path)",
        "os.remove(path)",
        "model.save_weights(path)",
    ],
)
def test_the_rule_sees_a_write_and_lets_one_pass_under_a_given_name(line):
    assert unsafe_calls(f"def write(path):\n    {line}\n") == [line]
    allowed = line.replace("path", "(part / 'a')").replace("partial", "part")
    block = f"def write(path):\n    with replacing_folder(path) as part:\n        {allowed}\n"
    assert unsafe_calls(block) == []


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        "path.open('rb')",
        "text.replace('a', 'b')",
        "table.copy()",
        "write_csv(path, t)",
    ],
)
def test_the_rule_lets_reading_pass(line):
    assert unsafe_calls(f"def read(path):\n    {line}\n") == []
