"""Exports as Ghost 5 writes them, made from a few fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def post(number: int, html: str | None = "<p>Text.</p>", **fields: Any) -> dict[str, Any]:
    """Return a row of `posts` with the columns of Ghost 5."""
    return {
        "id": f"{number:024x}",
        "uuid": f"00000000-0000-4000-8000-{number:012}",
        "title": f"Post {number}",
        "slug": f"post-{number}",
        "mobiledoc": None,
        "lexical": '{"root":{"children":[{"children":[],"type":"paragraph"}],"type":"root","version":1}}',
        "html": html,
        "comment_id": f"{number:024x}",
        "plaintext": "Text.",
        "feature_image": None,
        "featured": 0,
        "type": "post",
        "status": "published",
        "locale": None,
        "visibility": "public",
        "email_recipient_filter": "all",
        "created_at": "2024-05-01T08:00:00.000Z",
        "updated_at": "2024-05-06T12:00:00.000Z",
        "published_at": "2024-05-05T12:00:00.000Z",
        "custom_excerpt": None,
        "codeinjection_head": None,
        "codeinjection_foot": None,
        "custom_template": None,
        "canonical_url": None,
        "newsletter_id": None,
        "show_title_and_feature_image": 1,
    } | fields


def export(*posts: dict[str, Any], **tables: Any) -> dict[str, Any]:
    """Return an export with `posts`, a tag for each and an author."""
    data = {
        "posts": list(posts),
        "posts_meta": [],
        "tags": [
            {"id": "t1", "name": "Soil & air", "slug": "soil", "visibility": "public"},
            {"id": "t2", "name": "#internal", "slug": "hash-internal", "visibility": "internal"},
        ],
        "posts_tags": [
            {"id": f"pt{number}{tag}", "post_id": row.get("id"), "tag_id": tag, "sort_order": 0}
            for number, row in enumerate(posts)
            for tag in ("t1", "t2")
        ],
        "users": [{"id": "1", "name": "Anna"}, {"id": "2", "name": "Ben"}],
        "posts_authors": [
            {"id": "pa1", "post_id": posts[0]["id"], "author_id": "2", "sort_order": 1},
            {"id": "pa2", "post_id": posts[0]["id"], "author_id": "1", "sort_order": 0},
        ]
        if posts
        else [],
        "settings": [{"key": "title", "value": "The old blog"}],
    } | tables
    return {"db": [{"meta": {"exported_on": 1728561600000, "version": "5.96.0"}, "data": data}]}


def write_ghost(path: Path, *posts: dict[str, Any], **tables: Any) -> Path:
    """Write an export with `posts`."""
    path.write_text(json.dumps(export(*posts, **tables)), "utf-8")
    return path
