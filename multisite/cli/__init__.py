"""The command `multisite`.

A command parses its arguments, calls one function of the Python API and prints a few lines. The module of a command
is imported when the command is invoked, and imports only click at its top, so that `multisite --help` is instant.

Exit codes: 0 for success, 1 for failure (one line on stderr names the thing, the reason and the next command), 2 for
wrong usage.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from importlib import import_module
from typing import Any, NamedTuple

import click

__all__ = ["main"]


class _LazyCommand(NamedTuple):
    """The location of a command, as `module:attribute`, and its summary in the list of commands."""

    location: str
    summary: str


COMMANDS = {
    "migrate": _LazyCommand("multisite.cli.migrate:migrate", "Upgrade the tables of multisite and of the application."),
    "add-site": _LazyCommand("multisite.cli.sites:add_site", "Add a site: its database rows and its template folder."),
    "add-sites": _LazyCommand("multisite.cli.add_sites:add_sites", "Add the sites that a CSV or TOML file describes."),
    "list-sites": _LazyCommand("multisite.cli.list_sites:list_sites", "List the sites."),
    "show-site": _LazyCommand("multisite.cli.sites:show_site", "Show a site and all its domains."),
    "set-theme": _LazyCommand("multisite.cli.templates:set_theme", "Set or clear a site's theme."),
    "new-theme": _LazyCommand(
        "multisite.cli.templates:new_theme", "Create a theme: a folder of templates that several sites share."
    ),
    "which": _LazyCommand("multisite.cli.templates:which", "Show which file a template name resolves to for a site."),
    "reload-templates": _LazyCommand(
        "multisite.cli.templates:reload_templates", "Tell running servers to reload changed templates."
    ),
    "compile-templates": _LazyCommand(
        "multisite.cli.templates:compile_templates", "Precompile all templates into mako.module_directory."
    ),
    "push-templates": _LazyCommand(
        "multisite.cli.template_store:push_templates",
        "Copy changed templates, themes and static files to multisite.templates_store.",
    ),
    "pull-templates": _LazyCommand(
        "multisite.cli.template_store:pull_templates",
        "Copy templates, themes and static files from multisite.templates_store to this machine.",
    ),
    "collect-static": _LazyCommand(
        "multisite.cli.static:collect_static", "Collect the static files of all sites for a web server or a CDN."
    ),
    "add-domain": _LazyCommand("multisite.cli.domains:add_domain", "Add a domain to a site."),
    "remove-domain": _LazyCommand("multisite.cli.domains:remove_domain", "Remove a domain from its site."),
    "move-domain": _LazyCommand("multisite.cli.domains:move_domain", "Move a domain to another site."),
    "set-canonical": _LazyCommand("multisite.cli.domains:set_canonical", "Make a domain the canonical one."),
    "rename-site": _LazyCommand("multisite.cli.sites:rename_site", "Change a site's display name."),
    "rotate-secret": _LazyCommand(
        "multisite.cli.secrets:rotate_secret", "Rotate a site's secret; signs everybody out."
    ),
    "settings": _LazyCommand(
        "multisite.cli.site_settings:settings", "Show a site's settings and where each value comes from."
    ),
    "set": _LazyCommand(
        "multisite.cli.site_settings:set_settings", "Change settings of a site or of several, all of them or none."
    ),
    "unset": _LazyCommand("multisite.cli.site_settings:unset_settings", "Reset settings to their defaults."),
    "disable-site": _LazyCommand("multisite.cli.availability:disable_site", "Take a site offline (404)."),
    "enable-site": _LazyCommand(
        "multisite.cli.availability:enable_site", "Bring a disabled site, or one in maintenance, back online."
    ),
    "maintain-site": _LazyCommand("multisite.cli.availability:maintain_site", "Put a site into maintenance (503)."),
    "remove-site": _LazyCommand(
        "multisite.cli.removal:remove_site", "Remove a site: its rows, its folder and its domains."
    ),
    "list-removed": _LazyCommand("multisite.cli.removal:list_removed", "List the removed sites that can be restored."),
    "restore-site": _LazyCommand(
        "multisite.cli.removal:restore_site", "Restore a removed site, or an existing one from an archive."
    ),
    "erase-removed": _LazyCommand(
        "multisite.cli.removal:erase_removed", "Erase a removed site before its time, with its archive."
    ),
    "export-site": _LazyCommand("multisite.cli.site_archive:export_site", "Write a site to an archive."),
    "export-sites": _LazyCommand(
        "multisite.cli.backups:export_sites",
        "Write an archive of each site into multisite.archives_dir, as a backup.",
    ),
    "import-site": _LazyCommand("multisite.cli.site_archive:import_site", "Import an archive as a new site."),
    "copy-site": _LazyCommand("multisite.cli.site_archive:copy_site", "Copy a site to another domain."),
    "refresh": _LazyCommand("multisite.cli.availability:refresh", "Tell running servers to reload the directory."),
    "work": _LazyCommand(
        "multisite.cli.jobs:work",
        "Do the jobs that are waiting: exports, imports, copies, removals, and actions on several sites.",
    ),
    "list-jobs": _LazyCommand("multisite.cli.jobs:list_jobs", "List the jobs, beginning with the newest."),
    "cancel-job": _LazyCommand(
        "multisite.cli.jobs:cancel_job", "Cancel a job: a waiting one at once, a running one at its next step."
    ),
    "check-domains": _LazyCommand(
        "multisite.cli.check_domains:check_domains", "Check the records in DNS and the certificates of domains."
    ),
    "show-traffic": _LazyCommand(
        "multisite.cli.traffic:show_traffic", "Show the requests of a site, its errors, their duration and size."
    ),
    "measure-sites": _LazyCommand(
        "multisite.cli.health:measure_sites", "Measure the rows and files of all sites, and their last changes."
    ),
    "list-log": _LazyCommand("multisite.cli.operator_log:list_log", "List who changed what: the operator log."),
    "shell": _LazyCommand("multisite.cli.shell:shell", "Open a Python shell with a request for a site."),
    "each-site": _LazyCommand("multisite.cli.each_site:each_site", "Run a command once for each site."),
    "bulk": _LazyCommand("multisite.cli.bulk:bulk", "Do one thing to several sites, with a result for each."),
    "check": _LazyCommand("multisite.cli.check:check", "Check the separation of sites for faults."),
    "health": _LazyCommand(
        "multisite.cli.health:health", "Show the state of the whole: processes, versions, findings, errors."
    ),
    "vhosts": _LazyCommand(
        "multisite.cli.vhosts:vhosts", "Show which application serves which domain, and load them all."
    ),
    "row-security": _LazyCommand("multisite.cli.row_security:row_security", "Enable or disable row-level security."),
    "distribute": _LazyCommand(
        "multisite.cli.sharding:distribute", "Distribute the database over several servers by site."
    ),
    "isolate-site": _LazyCommand(
        "multisite.cli.sharding:isolate_site", "Give a site shards of its own in a distributed database."
    ),
    "list-shards": _LazyCommand(
        "multisite.cli.sharding:list_shards",
        "List the nodes of a distributed database with their sites, rows and bytes.",
    ),
    "add-user": _LazyCommand("multisite.cli.users:add_user", "Add a user to a site, with a link to choose a password."),
    "list-users": _LazyCommand("multisite.cli.users:list_users", "List the users of a site."),
    "set-role": _LazyCommand("multisite.cli.users:set_role", "Change the role of a user."),
    "reset-password": _LazyCommand(
        "multisite.cli.users:reset_password",
        "Remove a user's password, end their log-ins, and make a link to choose a new one.",
    ),
    "export-user": _LazyCommand("multisite.cli.users:export_user", "Print the data stored about a user, as JSON."),
    "remove-user": _LazyCommand("multisite.cli.users:remove_user", "Remove a user and the data stored about them."),
    "add-operator": _LazyCommand(
        "multisite.cli.operators:add_operator", "Add an operator of the console, with a link to choose a password."
    ),
    "list-operators": _LazyCommand("multisite.cli.operators:list_operators", "List the operators of the console."),
    "set-operator-role": _LazyCommand("multisite.cli.operators:set_operator_role", "Change the role of an operator."),
    "reset-operator": _LazyCommand(
        "multisite.cli.operators:reset_operator",
        "Remove an operator's password, second factor and passkeys, end their log-ins, and make a link for new ones.",
    ),
    "list-passkeys": _LazyCommand("multisite.cli.passkeys:list_passkeys", "List the passkeys of an operator."),
    "rename-passkey": _LazyCommand("multisite.cli.passkeys:rename_passkey", "Rename a passkey of an operator."),
    "remove-passkey": _LazyCommand("multisite.cli.passkeys:remove_passkey", "Remove a passkey of an operator."),
    "remove-operator": _LazyCommand(
        "multisite.cli.operators:remove_operator", "Remove an operator, and end their log-ins."
    ),
    "import-entries": _LazyCommand(
        "multisite.cli.import_entries:import_entries_command",
        "Import Markdown files into a site of multisite.content.",
    ),
    "import-wordpress": _LazyCommand(
        "multisite.cli.import_exports:import_wordpress_command",
        "Import a blog's posts from an export of WordPress into a site of multisite.content.",
    ),
    "import-ghost": _LazyCommand(
        "multisite.cli.import_exports:import_ghost_command",
        "Import a blog's posts from an export of Ghost into a site of multisite.content.",
    ),
    "list-entries": _LazyCommand(
        "multisite.cli.entries:list_entries", "List the entries of a site of multisite.content."
    ),
    "unpublish-entry": _LazyCommand("multisite.cli.entries:unpublish_entry", "Make an entry a draft."),
    "delete-entry": _LazyCommand(
        "multisite.cli.entries:delete_entry", "Delete an entry, and the redirects to it that an import made."
    ),
    "list-redirects": _LazyCommand(
        "multisite.cli.redirects:list_redirects", "List the redirects of a site of multisite.content."
    ),
    "add-redirect": _LazyCommand(
        "multisite.cli.redirects:add_redirect", "Redirect an address without a page, or change its redirect."
    ),
    "remove-redirect": _LazyCommand("multisite.cli.redirects:remove_redirect", "Remove the redirect of an address."),
    "import-redirects": _LazyCommand(
        "multisite.cli.redirects:import_redirects", "Add or change redirects from a CSV file, all of them or none."
    ),
    "export-redirects": _LazyCommand(
        "multisite.cli.redirects:export_redirects",
        "Write the redirects of a site to a CSV file, which import-redirects reads.",
    ),
    "list-missing": _LazyCommand(
        "multisite.cli.redirects:list_missing",
        "List the most requested addresses that have neither a page nor a redirect.",
    ),
    "add-preview": _LazyCommand(
        "multisite.cli.previews:add_preview", "Make a link that shows a site with another theme or other settings."
    ),
    "list-previews": _LazyCommand(
        "multisite.cli.previews:list_previews", "List the links that show a site with another layout."
    ),
    "remove-preview": _LazyCommand(
        "multisite.cli.previews:remove_preview", "Withdraw a link that shows a site with another layout."
    ),
    "reindex-search": _LazyCommand("multisite.cli.search:reindex_search", "Rebuild the search index of a site."),
    "list-media": _LazyCommand("multisite.cli.media:list_media", "List the media of a site."),
    "add-media": _LazyCommand("multisite.cli.media:add_media", "Add files to the media of a site."),
    "remove-media": _LazyCommand(
        "multisite.cli.media:remove_media", "Remove files from the media of a site, all of them or none."
    ),
    "prune-media": _LazyCommand("multisite.cli.media:prune_media", "Remove media files that belong to no site."),
}
"""All commands. A test compares the summaries with the docstrings of the commands."""


class _LazyGroup(click.Group):
    """A group that imports a command when it is invoked, and reports an expected error in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        module, _, attribute = lazy.location.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            # Imported here because only a misspelled command needs it.
            near = import_module("difflib").get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        # Not in invoke(), which `--help` does not reach. click itself ignores a closed pipe.
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if not _was_writing(error):
                raise
            _discard_output()
            click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            # This imports SQLAlchemy and alembic, which have been imported if one of them raised the error.
            explain = import_module("multisite.cli.errors").explain
            message = explain(error)
            if message is None:
                raise
            raise click.ClickException(message) from error


def _was_writing(error: OSError) -> bool:
    """Return whether click raised `error` while printing."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") == click.utils.__name__


def _discard_output() -> None:
    """Redirect stdout to the null device: at exit, Python would try to flush it again and report the error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@click.group(cls=_LazyGroup)
@click.version_option(package_name="pyramid-multisite")
@click.option(
    "-c",
    "--config",
    "ini",
    metavar="INI",
    envvar="MULTISITE_CONFIG",
    show_envvar=True,
    default="development.ini",
    show_default=True,
    help="The ini file of the application.",
)
@click.pass_context
def main(ctx: click.Context, ini: str) -> None:
    """Manage the sites of a Pyramid application that includes multisite."""
    # Commands receive it through click.pass_obj, and read the file after parsing their own arguments.
    ctx.obj = ini
    # Not at the top, because `--help` does not need them.
    actor = import_module("multisite.core.actor")
    ctx.with_resource(actor.acting_as(f"{actor.system_user()} (command)"))
    # Pyramid 2.1 imports pkg_resources, and setuptools >= 80.9 then prints a warning that users cannot act on. An
    # application's env.py imports Pyramid, so that any command that runs one can trigger it.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated as an API", UserWarning)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Characters that the terminal cannot encode, as in the name of a site, are escaped instead of raising.
        sys.stdout.reconfigure(errors="backslashreplace")
