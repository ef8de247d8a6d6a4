"""Every change that is recorded about a number can be told to its subscriber."""

import ast
from collections.abc import Iterator
from pathlib import Path

from registry import worker
from registry.models import RequestOutcome
from registry.portal.my.telling import WORDING

PACKAGE = Path(worker.__file__).parent


def test_every_kind_of_event_that_names_a_number_has_words() -> None:
    kinds = set(recorded_kinds())
    assert {"consent_granted", "number_reassigned", "complaint_closed", "family_ended"} <= kinds
    assert kinds <= set(WORDING), f"telling.py has no words for {kinds - set(WORDING)}"


def recorded_kinds() -> Iterator[str]:
    """Find the kinds of events about a number that are recorded anywhere in the package."""
    trees = [ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")]
    constants = {
        node.targets[0].id: node.value.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
    passing = {"record"} | {
        function.name
        for tree in trees
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        and "kind" in [argument.arg for argument in function.args.args]
        and any(_passes_kind(node) for node in ast.walk(function))
    }
    for tree in trees:
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and _name(call) in passing:
                yield from _kinds(call, constants)


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _passes_kind(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and _name(node) == "record"
        and len(node.args) == 6
        and any(isinstance(argument, ast.Name) and argument.id == "kind" for argument in node.args)
    )


def _kinds(call: ast.Call, constants: dict[str, str]) -> Iterator[str]:
    about_a_number = _name(call) != "record" or len(call.args) == 6
    for argument in call.args if about_a_number else ():
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value
        elif isinstance(argument, ast.Name) and argument.id in constants:
            yield constants[argument.id]
        elif isinstance(argument, ast.JoinedStr):
            assert ast.unparse(argument) == "f'consent_request_{outcome}'", ast.unparse(argument)
            yield from (f"consent_request_{outcome}" for outcome in RequestOutcome)
