"""DOCX files: all of their text, by mammoth, with their headings."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from xtrkit.errors import missing_extra
from xtrkit.texts.document import Document, Reading, SourceFile
from xtrkit.texts.files import blocks
from xtrkit.texts.files.headings import sections_of
from xtrkit.texts.files.kinds import NAMED
from xtrkit.texts.files.opening import LARGEST_TEXT, UnreadableError, quietly, read_bytes


def library() -> Any:
    """The library that reads DOCX.

    Raises:
        MissingExtraError: it isn't installed.
    """
    try:
        import mammoth
    except ImportError as error:
        raise missing_extra(*NAMED["DOCX"]) from error
    return mammoth


def read(file: SourceFile, reading: Reading) -> Iterator[Document]:
    """One document: all of the file but its pictures."""
    data = read_bytes(file.path)
    with quietly("mammoth"):
        mammoth = library()
        _check_size(data)
        pictures = 0

        def no_picture(_: Any) -> dict[str, str]:
            nonlocal pictures
            pictures += 1
            return {}

        converted = mammoth.convert_to_html(
            io.BytesIO(data), convert_image=mammoth.images.img_element(no_picture), ignore_empty_paragraphs=True
        )
    text, headings = blocks.text_of(converted.value)
    unknown = sorted({told.message for told in converted.messages if "unrecognised element" in told.message})
    if unknown:
        reading.report.notes.append(f"{file.name}: what is in these elements was left out: {'; '.join(unknown)[:300]}.")
    if pictures:
        told = "one picture was" if pictures == 1 else f"{pictures:,} pictures were"
        reading.report.notes.append(f"{file.name}: its {told} left out.")
    yield Document(file.name, text, sections=sections_of(text, headings), where=file.name)


def _check_size(data: bytes) -> None:
    """Refuse what would unpack to more than memory may have.

    Raises:
        UnreadableError: it would, or it is no DOCX file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            sizes = {member.filename: member.file_size for member in packed.infolist()}
    except zipfile.BadZipFile as error:
        raise UnreadableError(f"can't be read as DOCX ({error}): it is damaged, or of another kind.") from error
    if not any(name.startswith("word/") for name in sizes):
        raise UnreadableError("can't be read as DOCX: there is no text of Word in it.")
    if sum(sizes.values()) > LARGEST_TEXT:
        raise UnreadableError(f"would unpack to more than {LARGEST_TEXT >> 30} GiB.")
