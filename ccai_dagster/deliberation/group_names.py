"""What readers call an opinion group."""


def group_name(group_id: int) -> str:
    """Return what readers call an opinion group: `Group A` for 0, `Group AA` for 26."""
    letters, rest = "", group_id
    while rest >= 0:
        letters = chr(ord("A") + rest % 26) + letters
        rest = rest // 26 - 1
    return f"Group {letters}"
