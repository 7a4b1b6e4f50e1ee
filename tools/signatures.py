"""The signature of every public name, as docs/signatures.md has them: names, parameters, defaults, types, fields.

    python tools/signatures.py > docs/signatures.md

tests/test_docs.py compares the page with what `inspect.signature` says, so that the page cannot drift.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator

import veduta

WIDTH = 110  # columns, from which on a signature has a line for each parameter
HEAD = """# Signatures

Every name that `import veduta` gives, with its parameters, their defaults and what is returned. What they mean is in
[Python](python.md) and in the docstrings. Fields with a default may be left out; `*` begins those that are given by
name. This page is written by `python tools/signatures.py`, and a test compares it with the code.
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(f"\n## {name}\n\n```text\n{block(name)}\n```\n" for name in veduta.__all__)


def block(name: str) -> str:
    """Return the lines of one public name: its own signature, its fields or methods."""
    thing = getattr(veduta, name)
    if not inspect.isclass(thing):
        return signature(name, thing).replace("\n    ", "\n")
    fields = field_lines(thing)
    head = signature(name, thing).replace("\n    ", "\n") if not fields else f"{name}{kind(thing)}"
    return "\n".join([head, *(f"    {line}" for line in fields), *(f"    {line}" for line in methods(thing))])


def kind(thing: type) -> str:
    """Return what an object with fields is, in words."""
    return ", a named tuple:" if issubclass(thing, tuple) else ", frozen:"


def field_lines(thing: type) -> list[str]:
    """Return name, type and default of the fields of a dataclass or named tuple; none for another class."""
    if dataclasses.is_dataclass(thing):
        return [f"{f.name}: {plain(f.type)}{default_of(f)}" for f in dataclasses.fields(thing)]
    if issubclass(thing, tuple) and hasattr(thing, "_fields"):
        return [f"{name}: {plain(thing.__annotations__[name])}" for name in thing._fields]
    return []


def default_of(field: dataclasses.Field) -> str:  # type: ignore[type-arg]
    """Return the default of a field as it is written, or nothing."""
    return "" if field.default is dataclasses.MISSING else f" = {field.default!r}"


def methods(thing: type) -> Iterator[str]:
    """Yield the signatures of the public methods and the types of the properties, by name."""
    for name, member in sorted(vars_of(thing).items()):
        if isinstance(member, property):
            yield f"{name}: {returned(member.fget)}  (property)"
        elif isinstance(member, classmethod | staticmethod):
            yield signature(name, member.__func__, skip=isinstance(member, classmethod))
        elif inspect.isfunction(member):
            yield signature(name, member, skip=True)


def vars_of(thing: type) -> dict[str, object]:
    """Return the public members that the classes of Veduta give a class, the nearest of each name."""
    members: dict[str, object] = {}
    for base in reversed(thing.__mro__):
        if base.__module__.startswith("veduta") and base is not veduta.VedutaError:
            members |= {name: member for name, member in vars(base).items() if not name.startswith("_")}
    fields = {line.partition(":")[0] for line in field_lines(thing)}
    return {name: member for name, member in members.items() if name not in fields}


def returned(function: object) -> str:
    """Return the annotation of what a function returns."""
    return plain(inspect.signature(function).return_annotation)  # type: ignore[arg-type]


def signature(name: str, function: object, *, skip: bool = False) -> str:
    """Return name, parameters and result; over several lines where one would be too long."""
    said = inspect.signature(function)  # type: ignore[arg-type]
    parameters = list(said.parameters.values())[1 if skip else 0 :]
    words = [shown(parameter) for parameter in parameters]
    first_named = next((i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), None)
    if first_named is not None:
        words.insert(first_named, "*")
    result = "" if said.return_annotation in (said.empty, None, "None") else f" -> {plain(said.return_annotation)}"
    line = f"{name}({', '.join(words)}){result}"
    if len(line) <= WIDTH:
        return line
    return "\n        ".join([f"{name}(", *(f"{word}," for word in words)]) + f"\n    ){result}"


def shown(parameter: inspect.Parameter) -> str:
    """Return a parameter as it is written: name, type, default."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    type_ = "" if parameter.annotation is parameter.empty else f": {plain(parameter.annotation)}"
    default = "" if parameter.default is parameter.empty else f" = {value(parameter.default)}"
    return f"{stars}{parameter.name}{type_}{default}"


def value(default: object) -> str:
    """Return a default as text; a function by its result's form only, whose repr has an address."""
    return "..." if callable(default) else repr(default)


def plain(annotation: object) -> str:
    """Return an annotation without the modules of its names."""
    text = getattr(annotation, "__forward_arg__", annotation)
    text = text if isinstance(text, str) else inspect.formatannotation(text)
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])", "", text)


if __name__ == "__main__":
    print(page(), end="")
