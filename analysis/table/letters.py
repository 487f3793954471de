"""Text for LaTeX that every engine can typeset. pdfTeX has Latin letters, Greek letters as symbols, and few others."""

from __future__ import annotations

import functools
import re
import unicodedata

from lightning_xvol.surroundings.printing import printable

_SPECIAL = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": r"\textasciigrave{}",
    "[": "{[}", "*": "{*}",  # LaTeX takes them at the start of a row as an argument of the line break before it
}  # fmt: skip
_SYMBOLS = {
    "\N{MINUS SIGN}": "$-$", "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{EN DASH}": "--", "\N{EM DASH}": "---",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{DAGGER}": r"$\dagger$", "\N{DOUBLE DAGGER}": r"$\ddagger$",
    "\N{NO-BREAK SPACE}": "~", "\N{LEFT SINGLE QUOTATION MARK}": "`{}", "\N{RIGHT SINGLE QUOTATION MARK}": "'{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``", "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}", "\N{DEGREE SIGN}": r"$^\circ$", "\N{MICRO SIGN}": r"$\mu$",
    "\N{FRACTION SLASH}": "/", "\N{MIDDLE DOT}": r"$\cdot$", "\N{BULLET}": r"$\bullet$", "\N{SECTION SIGN}": r"\S{}",
    "\N{PILCROW SIGN}": r"\P{}", "\N{COPYRIGHT SIGN}": r"\copyright{}", "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$", "\N{NOT EQUAL TO}": r"$\neq$", "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{INFINITY}": r"$\infty$", "\N{ELEMENT OF}": r"$\in$", "\N{N-ARY SUMMATION}": r"$\sum$",
    "\N{N-ARY PRODUCT}": r"$\prod$", "\N{SQUARE ROOT}": r"$\surd$", "\N{PARTIAL DIFFERENTIAL}": r"$\partial$",
    "\N{NABLA}": r"$\nabla$", "\N{CIRCLED PLUS}": r"$\oplus$", "\N{CIRCLED TIMES}": r"$\otimes$",
    "\N{CIRCLED DOT OPERATOR}": r"$\odot$", "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{LEFTWARDS ARROW}": r"$\leftarrow$", "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$", "\N{LEFT RIGHT ARROW}": r"$\leftrightarrow$",
    "\N{RIGHTWARDS DOUBLE ARROW}": r"$\Rightarrow$", "\N{ZERO WIDTH SPACE}": r"\hspace{0pt}", "ß": r"\ss{}",
    "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}",
    "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`", "\N{COMBINING ACUTE ACCENT}": "'", "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~", "\N{COMBINING MACRON}": "=", "\N{COMBINING BREVE}": "u", "\N{COMBINING DOT ABOVE}": ".",
    "\N{COMBINING DIAERESIS}": '"', "\N{COMBINING RING ABOVE}": "r", "\N{COMBINING DOUBLE ACUTE ACCENT}": "H",
    "\N{COMBINING CARON}": "v", "\N{COMBINING DOT BELOW}": "d", "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING MACRON BELOW}": "b",
}  # fmt: skip
"""The accents of the encoding OT1, which every document has."""
_BELOW = "\N{COMBINING DOT BELOW}\N{COMBINING CEDILLA}\N{COMBINING MACRON BELOW}"


def _pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


_GREEK = {
    letter: rf"$\{name}$" for letter, name in _pairs(
        "α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi "
        "ρ rho σ sigma τ tau υ upsilon φ phi χ chi ψ psi ω omega ς varsigma Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi "
        "Π Pi Σ Sigma Υ Upsilon Φ Phi Ψ Psi Ω Omega"
    ).items()
} | _pairs("Α A Β B Ε E Ζ Z Η H Ι I Κ K Μ M Ν N Ο O Ρ P Τ T Χ X ο o")  # fmt: skip
_LATIN = _pairs(
    "đ d ð d ħ h ŋ ng þ th ŧ t а a б b в v г g д d е e ж zh з z и i й y к k л l м m н n о o п p р r с s т t у u ф f "
    "х kh ц ts ч ch ш sh щ shch ъ ' ы y ь ' э e ю yu я ya є ye і i ґ g ђ dj ј j љ lj њ nj ћ c џ dz א ' ב b ג g ד d "
    "ה h ו v ז z ח ch ט t י y ך k כ k ל l ם m מ m ן n נ n ס s ע ' ף f פ p ץ ts צ ts ק q ר r ש sh ת t ء ' ا a ب b ة "
    "h ت t ث th ج j ح h خ kh د d ذ dh ر r ز z س s ش sh ص s ض d ط t ظ z ع ' غ gh ف f ق q ك k ل l م m ن n ه h و w ى a "
    "ي y پ p چ ch ژ zh گ g ک k ی y"
)
"""The Latin letters for letters of other scripts. They are the same for every language that has the letter."""


def escape_latex(text: str) -> str:
    """`text` as LaTeX in ASCII, in one line. Letters that pdfTeX lacks become Latin letters (`transliterate`)."""
    parts: list[str] = []
    for character in transliterate(text):
        # Two of these in a row would become a dash or a quotation mark.
        parts.append("{}" * (character in "-'," and parts[-1:] == [character]) + _escape(character))
    return "".join(parts)


def escape_flowing(text: str) -> str:
    """`escape_latex(text)` for a paragraph: a long word, such as a path, may be divided between lines."""
    return escape_latex(_LONG.sub("\\g<0>\N{ZERO WIDTH SPACE}", transliterate(text)))


_LONG = re.compile(r"\S{20}(?=\S)")


@functools.cache
def _escape(character: str) -> str:
    written = (_SPECIAL | _SYMBOLS | _GREEK).get(character)
    if written is not None or character.isascii():
        return character if written is None else written
    letter, accent = tuple(unicodedata.normalize("NFD", character))
    dotless = letter in "ij" and accent not in _BELOW
    return "\\" + _ACCENTS[accent] + "{" + "\\" * dotless + letter + "}"


def transliterate(text: str) -> str:
    """`text` in the letters that `escape_latex` can write.

    Letters lose accents that pdfTeX lacks. Cyrillic, Hebrew and Arabic letters and the syllables of Korean and Japanese
    become Latin letters. A symbol becomes its name in brackets (`[grinning face]`). Any other letter becomes its number
    (`[U+4E2D]`).
    """
    composed = unicodedata.normalize("NFC", printable(text).replace("\n", " "))
    return "".join(map(_replacement, composed)).replace("][U+", " U+")


def foreign(text: str) -> dict[str, str]:
    """Maps each letter of `text` that pdfTeX lacks to its replacement."""
    composed = unicodedata.normalize("NFC", printable(text).replace("\n", " "))
    return {each: _replacement(each) for each in composed if _replacement(each) != each}


@functools.cache
def _replacement(character: str) -> str:
    if _is_known(character):
        return character
    lower = character.lower()
    if lower in _LATIN:
        return _LATIN[lower] if lower == character else _LATIN[lower].capitalize()
    name, category = unicodedata.name(character, ""), unicodedata.category(character)
    if category in ("Mn", "Me", "Cf"):
        return ""
    if re.match(r"HANGUL SYLLABLE|(HIRAGANA|KATAKANA) LETTER", name):
        return name.rpartition(" ")[2].lower()
    parts = unicodedata.normalize("NFKD", character)
    if parts != character:
        return _with_first_accent(parts)
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category in ("Zs", "Pd"):
        return " " if category == "Zs" else "-"
    return f"[{name.lower()}]" if category.startswith("S") and name else f"[U+{ord(character):04X}]"


def _is_known(character: str) -> bool:
    if character.isascii() or character in _SYMBOLS or character in _GREEK:
        return True
    parts = unicodedata.normalize("NFD", character)
    return len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in _ACCENTS


def _with_first_accent(parts: str) -> str:
    """A letter with the first of its combining accents that pdfTeX has. Any other text is replaced part by part."""
    accents = [each for each in parts[1:] if each in _ACCENTS]
    accented = unicodedata.normalize("NFC", parts[0] + accents[0]) if accents else ""
    if len(accented) == 1 and _is_known(accented) and all(unicodedata.combining(each) for each in parts[1:]):
        return accented
    return "".join(map(_replacement, parts))
