"""Small faults that could be written into a module, one at a time.

Comparison, arithmetic and boolean operators, negated conditions, numbers, names and truth values,
min for max and their like, the order of arguments, named arguments left out, slices off by one,
statements and returned values left out. Left alone is what no run depends on: types, docstrings,
texts of several words, what an error says, assertions, `device=` and `strict=`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_PAIRS = (
    *(("min", "max"), ("amin", "amax"), ("argmin", "argmax"), ("any", "all")),
    *(("zeros", "ones"), ("zeros_like", "ones_like"), ("mean", "sum"), ("std", "var")),
)
_OTHER_NAME = {a: b for one, two in _PAIRS for a, b in ((one, two), (two, one))}
_ORDERLESS = {"cast", "isinstance", "issubclass", "getattr", "setattr", "hasattr", "min", "max"}
_TYPES = {"int", "float", "str", "bool", "list", "dict", "tuple", "set", "bytes"}
_LEFT_ALONE = {"annotation", "returns", "decorator_list", "type_params", "bases"}
_NO_ARGUMENT = {"device", "strict", "metadata"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Mutant:
    """One fault: where it is, and how it is made."""

    line: int
    """Line of the source."""
    reach: range | None
    """Lines of which one is run when the fault is; None: when the module is loaded."""
    before: str
    """The code as it is."""
    after: str
    """The code with the fault."""
    number: int
    """Which of the module's mutants."""


@dataclass
class _Change:
    parent: ast.AST
    field: str
    index: int | None
    new: ast.AST
    old: ast.AST
    reach: range | None

    def make(self) -> None:
        if self.index is None:
            setattr(self.parent, self.field, self.new)
        else:
            getattr(self.parent, self.field)[self.index] = self.new


def mutants(source: str) -> list[Mutant]:
    """All faults that a module can get, in the order of the source."""
    return [
        Mutant(
            line=getattr(change.old, "lineno", 0),
            reach=change.reach,
            before=_short(change.old),
            after=_short(change.new),
            number=number,
        )
        for number, change in enumerate(_changes(ast.parse(source)))
    ]


def mutated(source: str, number: int | None) -> ast.Module:
    """The module's syntax tree with one of its faults, or with none."""
    tree = ast.parse(source)
    if number is not None:
        list(_changes(tree))[number].make()
    return ast.fix_missing_locations(tree)


def _short(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _changes(tree: ast.Module) -> Iterator[_Change]:
    yield from _of_children(tree, None, inside=False)


def _of_children(node: ast.AST, reach: range | None, *, inside: bool) -> Iterator[_Change]:
    for field, value in ast.iter_fields(node):
        if field in _LEFT_ALONE:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _left_alone(node, child, index):
                continue
            around = reach
            if inside and isinstance(child, ast.stmt):
                around = _header(child)
            for new in _faults(child):
                ast.copy_location(new, child)
                yield _Change(node, field, index, new, child, around)
            if isinstance(child, ast.Raise):
                continue
            if isinstance(child, _FUNCTIONS):
                yield from _of_function(child, around)
            else:
                yield from _of_children(child, around, inside=inside)


def _of_function(node: ast.AST, reach: range | None) -> Iterator[_Change]:
    """The defaults are read where the function is made; the rest is run when it is called."""
    arguments = node.args  # type: ignore[attr-defined]
    yield from _of_children(arguments, reach, inside=False)
    holder = ast.Module(body=node.body, type_ignores=[])  # type: ignore[attr-defined]
    yield from _of_children(holder, None, inside=True)


def _header(statement: ast.stmt) -> range:
    """The lines that run whenever the statement does, without those of its blocks."""
    body = getattr(statement, "body", None)
    end = statement.end_lineno or statement.lineno
    if isinstance(body, list) and body:
        end = max(statement.lineno, body[0].lineno - 1)
    return range(statement.lineno, end + 1)


def _left_alone(parent: ast.AST, child: ast.AST, index: int | None) -> bool:
    match child:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.expr_context():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.ClassDef(bases=bases) if any(_name(base) == "Protocol" for base in bases):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.keyword(arg=arg) if arg in _NO_ARGUMENT:
            return True
    return isinstance(parent, ast.Call) and _name(parent.func) == "cast" and index == 0


def _name(node: ast.AST) -> str:
    return getattr(node, "id", getattr(node, "attr", ""))


def _faults(node: ast.AST) -> Iterator[ast.AST]:
    """What the node could wrongly be."""
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others):
            for place, op in enumerate(ops):
                for other in _COMPARISONS[type(op)]:
                    new = [*ops[:place], other(), *ops[place + 1 :]]
                    yield ast.Compare(left, new, others)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            if not (isinstance(op, ast.BitOr) and {_kind(left), _kind(right)} & {"type"}):
                yield ast.BinOp(left, _ARITHMETIC[type(op)](), right)
        case ast.BoolOp(op=op, values=values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield ast.BoolOp(other, values)
            for rest in (values[1:], values[:-1]):
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(op=ast.Not() | ast.Invert() | ast.USub(), operand=operand):
            yield operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(_not(test), body, orelse)
        case ast.comprehension(target=target, iter=iter, ifs=ifs, is_async=kind) if ifs:
            yield ast.comprehension(target, iter, [_not(ifs[0]), *ifs[1:]], kind)
        case ast.Constant(value=value):
            yield from map(ast.Constant, _other_values(value))
        case ast.Call():
            yield from _other_calls(node)
        case ast.Attribute(value=value, attr=attr, ctx=context) if attr in _OTHER_NAME:
            yield ast.Attribute(value, _OTHER_NAME[attr], context)
        case ast.Name(id=name, ctx=ast.Load()) if name in ("min", "max", "any", "all"):
            yield ast.Name(_OTHER_NAME[name], ast.Load())
        case ast.Slice():
            yield from _other_slices(node)
        case ast.stmt():
            yield from _other_statements(node)


def _kind(node: ast.AST) -> str:
    if isinstance(node, ast.BinOp):
        return _kind(node.right)
    none = isinstance(node, ast.Constant) and node.value is None
    return "type" if none or _name(node) in _TYPES else ""


def _not(test: ast.expr) -> ast.expr:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    return ast.UnaryOp(ast.Not(), test)


def _other_values(value: object) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
        if value:
            yield value - 1
    elif isinstance(value, float):
        yield value * 2 if value else 1.0
    elif isinstance(value, str) and not (" " in value and any(map(str.isalpha, value))):
        yield value + "~"
    elif isinstance(value, bytes):
        yield value + b"~"


def _other_calls(node: ast.Call) -> Iterator[ast.Call]:
    name = _name(node.func)
    two = node.args[:2]
    if len(two) == 2 and name not in _ORDERLESS:
        plain = not any(isinstance(argument, ast.Starred) for argument in two)
        if plain and ast.dump(two[0]) != ast.dump(two[1]):
            yield ast.Call(node.func, [*reversed(two), *node.args[2:]], node.keywords)
    for place, keyword in enumerate(node.keywords):
        others = [*node.keywords[:place], *node.keywords[place + 1 :]]
        if keyword.arg is None or keyword.arg in _NO_ARGUMENT:
            continue
        yield ast.Call(node.func, node.args, others)
        if keyword.arg in ("min", "max") and name.startswith("clamp"):
            turned = ast.keyword(_OTHER_NAME[keyword.arg], keyword.value)
            yield ast.Call(node.func, node.args, [*others, turned])


def _other_slices(node: ast.Slice) -> Iterator[ast.Slice]:
    lower, upper, one = node.lower, node.upper, ast.Constant(1)
    if lower is None and upper is None:
        return
    more = one if lower is None else ast.BinOp(lower, ast.Add(), one)
    less = ast.UnaryOp(ast.USub(), one) if upper is None else ast.BinOp(upper, ast.Sub(), one)
    yield ast.Slice(more, upper, node.step)
    yield ast.Slice(lower, less, node.step)


def _other_statements(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.If(test=test, body=body, orelse=orelse):
            yield ast.If(_not(test), body, orelse)
        case ast.While(test=test, body=body, orelse=orelse):
            yield ast.While(_not(test), body, orelse)
        case ast.AugAssign(target=target, op=op, value=value):
            yield ast.AugAssign(target, _ARITHMETIC[type(op)](), value)
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
