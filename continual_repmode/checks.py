"""Checks of single values; each raises one line that names the setting."""

from continual_repmode.errors import UserError


def require(condition: bool, name: str, value: object, rule: str) -> None:
    """Refuse a value unless the condition holds; ``rule`` says what it must be."""
    if not condition:
        raise UserError(f"{name}={value}: must be {rule}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the choices."""
    require(value in choices, name, value, " or ".join(choices))


def require_sides(name: str, sides: list[int] | list[float]) -> None:
    """Refuse anything but three positive numbers, for Z, Y and X."""
    fine = len(sides) == 3 and all(side > 0 for side in sides)
    require(fine, name, sides, "three positive numbers [z,y,x]")
