"""The texts of the portal in other languages: catalogues of gettext beside the templates, and their compiled form.

`locale/` has a PO file for each language, as people translate it. gettext reads a compiled form of it, which is made
here when the portal starts, so that nobody needs gettext's own programs and no file in the repository is made from
another one. Knows nothing of Django.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ccai_dagster.consultation.people import PORTAL_TEXTS
from ccai_dagster.core.digest import file_digest, value_digest


def compiled_texts(cache: Path) -> Path:
    """Return a folder with every catalogue as gettext reads it, below `cache`; a new one whenever one has changed."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    catalogues = sorted(PORTAL_TEXTS.glob("*.po"))
    texts = cache / "portal_texts" / value_digest([[path.name, file_digest(path)] for path in catalogues])[:16]
    if texts.is_dir():
        return texts
    texts.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=texts.parent))
    for path in catalogues:
        compiled = fresh / path.stem / "LC_MESSAGES" / "django.mo"
        compiled.parent.mkdir(parents=True)
        with path.open("rb") as source, compiled.open("wb") as target:
            write_mo(target, read_po(source, abort_invalid=True))
    try:
        fresh.rename(texts)
    except OSError:  # another process was first
        if not texts.is_dir():
            raise
    return texts
