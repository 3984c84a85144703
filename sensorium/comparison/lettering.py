"""How wide a text is, as nearly as can be told without its font, so that nothing runs over.

Widths are those of Helvetica's metric twin and of Noto Serif, the widest of the serifs that a card
names; what is in neither takes the width of a wide letter, so a text is rather told too wide.
"""

from __future__ import annotations

from rich.cells import cell_len

# Hundredths of the size, from the space to the tilde.
_SANS = (
    28, 28, 35, 56, 56, 89, 67, 19, 33, 33, 39, 58, 28, 33, 28, 28, 56, 56, 56, 56, 56, 56, 56, 56,
    56, 56, 28, 28, 58, 58, 58, 56, 102, 67, 67, 72, 72, 67, 61, 78, 72, 28, 50, 67, 56, 83, 72, 78,
    67, 78, 72, 67, 61, 72, 67, 94, 67, 67, 61, 28, 28, 28, 47, 56, 33, 56, 56, 50, 56, 56, 28, 56,
    56, 22, 22, 50, 22, 83, 56, 56, 56, 56, 33, 50, 28, 56, 50, 72, 50, 50, 50, 33, 26, 33, 58,
)  # fmt: skip
_SERIF = (
    26, 33, 41, 56, 56, 90, 74, 22, 35, 35, 50, 56, 25, 31, 25, 29, 56, 56, 56, 56, 56, 56, 56, 56,
    56, 56, 29, 29, 56, 56, 56, 47, 92, 70, 65, 61, 73, 62, 59, 71, 79, 37, 36, 70, 62, 94, 76, 74,
    60, 74, 66, 54, 61, 72, 68, 105, 66, 62, 59, 36, 29, 36, 56, 46, 27, 56, 61, 49, 61, 54, 37, 54,
    64, 32, 30, 58, 31, 94, 64, 58, 61, 61, 47, 45, 35, 64, 58, 86, 58, 56, 51, 43, 56, 43, 56,
)  # fmt: skip
_FACES = {"sans": _SANS, "serif": _SERIF, "mono": (61,) * 95}
_BOLD = 1.08
_OTHER = {"−": 58, "←": 100, "→": 100, "…": 100, "–": 56, "±": 58}


def width(text: str, size: float, face: str = "sans", bold: bool = False) -> float:
    """Of a text in pixels.

    Args:
        text: on one line. size: in pixels. face: `sans`, `serif` or `mono`.
    """
    known = _FACES[face]
    hundredths = sum(
        known[ord(letter) - 32] if " " <= letter <= "~" else _OTHER.get(letter, _strange(letter))
        for letter in text
    )
    return hundredths / 100 * size * (_BOLD if bold else 1.0)


def _strange(letter: str) -> int:
    return (0, 75, 105)[min(2, cell_len(letter))]


def clipped(text: str, room: float, size: float, face: str = "sans", bold: bool = False) -> str:
    """A text as it is where it fits, else its beginning and an ellipsis."""
    if width(text, size, face, bold) <= room:
        return text
    while text and width(text + "…", size, face, bold) > room:
        text = text[:-1]
    return text.rstrip(" ,;:") + "…"


def paired(first: str, second: str, room: float, size: float) -> tuple[str, str]:
    """Two texts that share a line: the longer one gives way first, down to half of the room."""
    one, other = width(first, size), width(second, size)
    if one + other <= room:
        return first, second
    if one <= room / 2:
        return first, clipped(second, room - one, size)
    if other <= room / 2:
        return clipped(first, room - other, size), second
    return clipped(first, room / 2, size), clipped(second, room / 2, size)


def lines(text: str, room: float, size: float, most: int, face: str = "sans") -> list[str]:
    """A text broken at blanks into at most so many lines; the last one is clipped."""
    made: list[str] = []
    rest = text.split()
    while rest and len(made) < most - 1:
        count = 1
        while count < len(rest) and width(" ".join(rest[: count + 1]), size, face) <= room:
            count += 1
        made.append(clipped(" ".join(rest[:count]), room, size, face))
        rest = rest[count:]
    return [*made, clipped(" ".join(rest), room, size, face)] if rest else made
