from multisite import SiteScoped
from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from .meta import Base


class Note(SiteScoped, Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    text: Mapped[str | None]


Index("ix_notes_name", Note.site_id, Note.name, unique=True)
