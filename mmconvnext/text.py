"""Names and messages of others, as terminals and pictures can show them."""


def printable(text: str) -> str:
    """Without what a terminal would obey or nothing could show."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def shortened(text: str, longest: int) -> str:
    """``printable``, and cut to so many letters."""
    text = printable(text)
    return text if len(text) <= longest else f'{text[: longest - 1]}…'
