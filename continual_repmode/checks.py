"""Checks of single values; each raises one line that names the setting."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from continual_repmode.errors import UserError


@dataclass(frozen=True, slots=True)
class Rule:
    """What the value of a setting must be; where it may be null, that is fine too."""

    holds: Callable[[Any], bool]
    words: str


ABOVE_0 = Rule(lambda value: value > 0, "above 0")
SHARE = Rule(lambda value: 0 <= value < 1, "0 to below 1")
ODD = Rule(lambda value: value >= 1 and value % 2 == 1, "odd")
SIDES = Rule(
    lambda sides: len(sides) == 3 and all(side > 0 for side in sides),
    "three positive numbers [z,y,x]",
)


def at_least(least: int) -> Rule:
    """Return the rule for numbers that have a lowest value."""
    return Rule(lambda value: value >= least, f"at least {least}")


def one_of(*choices: str) -> Rule:
    """Return the rule for choices."""
    return Rule(lambda value: value in choices, " or ".join(choices))


def setting(default: Any, rule: Rule) -> Any:
    """Return a field of a settings class; a function as default makes the value."""
    if callable(default):
        return field(default_factory=default, metadata={"rule": rule})
    return field(default=default, metadata={"rule": rule})


def check_settings(settings: Any, group: str) -> None:
    """Refuse values that the rules of their fields, or of those of bases, forbid."""
    rules: dict[str, Rule] = {}
    for kind in filter(is_dataclass, reversed(type(settings).__mro__)):
        known = {item.name: item.metadata.get("rule") for item in fields(kind)}
        rules |= {name: rule for name, rule in known.items() if rule is not None}
    for item in fields(settings):
        rule = rules.get(item.name)
        value, optional = getattr(settings, item.name), "None" in str(item.type)
        if rule is not None and not (optional and value is None):
            words = f"{rule.words}, or null" if optional else rule.words
            require(rule.holds(value), f"{group}.{item.name}", value, words)


def require(condition: bool, name: str, value: object, rule: str) -> None:
    """Refuse a value unless the condition holds; ``rule`` says what it must be."""
    if not condition:
        raise UserError(f"{name}={value}: must be {rule}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the choices."""
    require(value in choices, name, value, " or ".join(choices))
