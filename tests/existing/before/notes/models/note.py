from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from .meta import Base


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    text: Mapped[str | None]


Index("ix_notes_name", Note.name, unique=True)
