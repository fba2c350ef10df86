"""The users of a site, if the application has them: add one, change one, and sign in on the site as one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.scripting import prepare
from sqlalchemy.orm import Session

from multisite.console.pages import N_, add_page, translate
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_url, site_variables
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.people import add_member, find_member, list_members, remove_member, reset_password, set_role
from multisite.private_pages import field
from multisite.sites.operator_log import record_in
from multisite.sites.sign_ins import LINK_SECONDS, make_sign_in
from multisite.web.site_settings import SITE_SETTINGS
from multisite.web.site_user import SITE_USER, SiteUserClass

__all__ = ["includeme", "site_session"]

ROLE_TEXTS = {"owner": N_("Owner"), "editor": N_("Editor"), "author": N_("Author")}
"""The texts of the roles of users."""


@contextmanager
def _session(request: Request, site: Site) -> Iterator[tuple[SiteUserClass, Session]]:
    """Yield the class of users, and a session that is pinned to the site and commits at the end.

    Raises:
        HTTPNotFound: The application has no users.
    """
    users: SiteUserClass | None = request.console.registry.get(SITE_USER)
    if users is None:
        raise HTTPNotFound
    with site_session(request, site, users.model) as session:
        yield users, session


@contextmanager
def site_session(request: Request, site: Site, model: Any) -> Iterator[Session]:
    """Yield a session for the database of `model` that is pinned to the site and commits at the end."""
    registry = request.console.registry
    env = prepare(registry=registry)
    try:
        engine = env["request"].dbsession.get_bind(model)
    finally:
        env["closer"]()
    own = dataclasses.replace(site, settings_provider=registry[SITE_SETTINGS])
    with Session(engine, info={"site": own}) as session, session.begin():
        yield session


def users(request: Request) -> Any:
    """The users of a site, and what a POST does to one of them."""
    record, error, done, link = find_record(request), None, None, None
    if request.method == "POST":
        try:
            link = _change(request, record.site)
            done = translate(request, "Saved.")
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
    with _session(request, record.site) as (found_class, session):
        members = [(each.id, each.login, each.email, each.role, bool(each.password_hash)) for each in
                   list_members(session, found_class.model)]  # fmt: skip
    return site_variables(
        request,
        record,
        members=members,
        roles=ROLE_TEXTS,
        link=None if link is None else site_url(request, record).rstrip("/") + link,
        can_sign_in=found_class.sign_in_path is not None,
        error=error,
        done=done,
    )


def _change(request: Request, site: Site) -> str | None:
    """Make the change, and return the path of the link to choose a password, if there is a new one."""
    action, login, role = field(request, "action"), field(request, "login").strip(), field(request, "role")
    token = None
    with _session(request, site) as (found, session):
        if action == "add-user":
            email = field(request, "email").strip() or None
            member, token = add_member(session, found.model, site, login, role=role, email=email)
        elif action == "reset-password":
            member, token = reset_password(session, found.model, site, login)
        elif action == "set-role":
            member = set_role(session, found.model, site, login, role)
        elif action == "remove-user" and field(request, "sure"):
            member = find_member(session, found.model, site, login)
        else:
            raise MultisiteError(translate(request, "tick the box to confirm"))
        # By the id: the log is kept when a user and the data stored about them are removed.
        after = {"user": member.id, **({"role": role} if action in {"add-user", "set-role"} else {})}
        record_in(session, request.console.engine, action, site, after=after)
        if action == "remove-user":
            remove_member(session, found.model, site, login)
    return None if token is None else found.link_path.replace("{token}", token)


def sign_in(request: Request) -> Any:
    """Make a link by which the operator signs in on the site as one of its users, and go there."""
    if request.method != "POST":
        raise HTTPNotFound
    record = find_record(request)
    with _session(request, record.site) as (found, session):
        member = found.model.find(session, field(request, "login"))
        if member is None or found.sign_in_path is None:
            raise HTTPNotFound
        user_id, login = member.id, member.login
    operator = request.log_in.operator.login
    token = make_sign_in(request.console.engine, record.site, user_id, login, operator=operator)
    link = site_url(request, record).rstrip("/") + found.sign_in_path.replace("{token}", token)
    # Not a redirect: the Content-Security-Policy lets a form lead to the console alone.
    return site_variables(request, record, login=login, link=link, seconds=LINK_SECONDS)


def includeme(config: Configurator) -> None:
    """Add the pages."""
    pattern = SITE_PATTERN + "/users"
    add_page(config, "users", pattern, users, "users", role="look", change_role="everything", is_dangerous=None)
    add_page(config, "sign_in", SITE_PATTERN + "/sign-in", sign_in, "sign_in", role="everything")
