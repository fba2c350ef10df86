"""The list of commands, which `multisite --help` prints without importing any of them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "LazyCommand"]


class LazyCommand(NamedTuple):
    """The location of a command, as `module:attribute`, and its summary in the list of commands."""

    location: str
    summary: str


COMMANDS = {
    "migrate": LazyCommand("multisite.cli.migrate:migrate", "Upgrade the tables of multisite and of the application."),
    "add-site": LazyCommand("multisite.cli.sites:add_site", "Add a site: its database rows and its template folder."),
    "add-sites": LazyCommand("multisite.cli.add_sites:add_sites", "Add the sites that a CSV or TOML file describes."),
    "list-sites": LazyCommand("multisite.cli.list_sites:list_sites", "List the sites."),
    "show-site": LazyCommand("multisite.cli.sites:show_site", "Show a site and all its domains."),
    "set-theme": LazyCommand("multisite.cli.templates:set_theme", "Set or clear a site's theme."),
    "new-theme": LazyCommand(
        "multisite.cli.templates:new_theme", "Create a theme: a folder of templates that several sites share."
    ),
    "which": LazyCommand("multisite.cli.templates:which", "Show which file a template name resolves to for a site."),
    "reload-templates": LazyCommand(
        "multisite.cli.templates:reload_templates", "Tell running servers to reload changed templates."
    ),
    "compile-templates": LazyCommand(
        "multisite.cli.templates:compile_templates", "Precompile all templates into mako.module_directory."
    ),
    "push-templates": LazyCommand(
        "multisite.cli.template_store:push_templates",
        "Copy changed templates, themes and static files to multisite.templates_store.",
    ),
    "pull-templates": LazyCommand(
        "multisite.cli.template_store:pull_templates",
        "Copy templates, themes and static files from multisite.templates_store to this machine.",
    ),
    "collect-static": LazyCommand(
        "multisite.cli.static:collect_static", "Collect the static files of all sites for a web server or a CDN."
    ),
    "add-domain": LazyCommand("multisite.cli.domains:add_domain", "Add a domain to a site."),
    "remove-domain": LazyCommand("multisite.cli.domains:remove_domain", "Remove a domain from its site."),
    "move-domain": LazyCommand("multisite.cli.domains:move_domain", "Move a domain to another site."),
    "set-canonical": LazyCommand("multisite.cli.domains:set_canonical", "Make a domain the canonical one."),
    "rename-site": LazyCommand("multisite.cli.sites:rename_site", "Change a site's display name."),
    "rotate-secret": LazyCommand("multisite.cli.secrets:rotate_secret", "Rotate a site's secret; signs everybody out."),
    "settings": LazyCommand(
        "multisite.cli.site_settings:settings", "Show a site's settings and where each value comes from."
    ),
    "set": LazyCommand(
        "multisite.cli.site_settings:set_settings", "Change settings of a site or of several, all of them or none."
    ),
    "unset": LazyCommand("multisite.cli.site_settings:unset_settings", "Reset settings to their defaults."),
    "disable-site": LazyCommand("multisite.cli.availability:disable_site", "Take a site offline (404)."),
    "enable-site": LazyCommand(
        "multisite.cli.availability:enable_site", "Bring a disabled site, or one in maintenance, back online."
    ),
    "maintain-site": LazyCommand("multisite.cli.availability:maintain_site", "Put a site into maintenance (503)."),
    "remove-site": LazyCommand(
        "multisite.cli.removal:remove_site", "Remove a site: its rows, its folder and its domains."
    ),
    "list-removed": LazyCommand("multisite.cli.removal:list_removed", "List the removed sites that can be restored."),
    "restore-site": LazyCommand(
        "multisite.cli.removal:restore_site", "Restore a removed site, or an existing one from an archive."
    ),
    "erase-removed": LazyCommand(
        "multisite.cli.removal:erase_removed", "Erase a removed site before its time, with its archive."
    ),
    "export-site": LazyCommand("multisite.cli.site_archive:export_site", "Write a site to an archive."),
    "export-sites": LazyCommand(
        "multisite.cli.backups:export_sites",
        "Write an archive of each site into multisite.archives_dir, as a backup.",
    ),
    "import-site": LazyCommand("multisite.cli.site_archive:import_site", "Import an archive as a new site."),
    "copy-site": LazyCommand("multisite.cli.site_archive:copy_site", "Copy a site to another domain."),
    "refresh": LazyCommand("multisite.cli.availability:refresh", "Tell running servers to reload the directory."),
    "work": LazyCommand(
        "multisite.cli.jobs:work",
        "Do the jobs that are waiting: exports, imports, copies, removals, and actions on several sites.",
    ),
    "list-jobs": LazyCommand("multisite.cli.jobs:list_jobs", "List the jobs, beginning with the newest."),
    "cancel-job": LazyCommand(
        "multisite.cli.jobs:cancel_job", "Cancel a job: a waiting one at once, a running one at its next step."
    ),
    "check-domains": LazyCommand(
        "multisite.cli.check_domains:check_domains", "Check the records in DNS and the certificates of domains."
    ),
    "show-traffic": LazyCommand(
        "multisite.cli.traffic:show_traffic", "Show the requests of a site, its errors, their duration and size."
    ),
    "measure-sites": LazyCommand(
        "multisite.cli.health:measure_sites", "Measure the rows and files of all sites, and their last changes."
    ),
    "list-log": LazyCommand("multisite.cli.operator_log:list_log", "List who changed what: the operator log."),
    "shell": LazyCommand("multisite.cli.shell:shell", "Open a Python shell with a request for a site."),
    "each-site": LazyCommand("multisite.cli.each_site:each_site", "Run a command once for each site."),
    "bulk": LazyCommand("multisite.cli.bulk:bulk", "Do one thing to several sites, with a result for each."),
    "check": LazyCommand("multisite.cli.check:check", "Check the separation of sites for faults."),
    "health": LazyCommand(
        "multisite.cli.health:health", "Show the state of the whole: processes, versions, findings, errors."
    ),
    "vhosts": LazyCommand(
        "multisite.cli.vhosts:vhosts", "Show which application serves which domain, and load them all."
    ),
    "row-security": LazyCommand("multisite.cli.row_security:row_security", "Enable or disable row-level security."),
    "distribute": LazyCommand(
        "multisite.cli.sharding:distribute", "Distribute the database over several servers by site."
    ),
    "isolate-site": LazyCommand(
        "multisite.cli.sharding:isolate_site", "Give a site shards of its own in a distributed database."
    ),
    "list-shards": LazyCommand(
        "multisite.cli.sharding:list_shards",
        "List the nodes of a distributed database with their sites, rows and bytes.",
    ),
    "add-user": LazyCommand("multisite.cli.users:add_user", "Add a user to a site, with a link to choose a password."),
    "list-users": LazyCommand("multisite.cli.users:list_users", "List the users of a site."),
    "set-role": LazyCommand("multisite.cli.users:set_role", "Change the role of a user."),
    "reset-password": LazyCommand(
        "multisite.cli.users:reset_password",
        "Remove a user's password, end their log-ins, and make a link to choose a new one.",
    ),
    "export-user": LazyCommand("multisite.cli.users:export_user", "Print the data stored about a user, as JSON."),
    "remove-user": LazyCommand("multisite.cli.users:remove_user", "Remove a user and the data stored about them."),
    "add-operator": LazyCommand(
        "multisite.cli.operators:add_operator", "Add an operator of the console, with a link to choose a password."
    ),
    "list-operators": LazyCommand("multisite.cli.operators:list_operators", "List the operators of the console."),
    "set-operator-role": LazyCommand("multisite.cli.operators:set_operator_role", "Change the role of an operator."),
    "reset-operator": LazyCommand(
        "multisite.cli.operators:reset_operator",
        "Remove an operator's password, second factor and passkeys, end their log-ins, and make a link for new ones.",
    ),
    "list-passkeys": LazyCommand("multisite.cli.passkeys:list_passkeys", "List the passkeys of an operator."),
    "rename-passkey": LazyCommand("multisite.cli.passkeys:rename_passkey", "Rename a passkey of an operator."),
    "remove-passkey": LazyCommand("multisite.cli.passkeys:remove_passkey", "Remove a passkey of an operator."),
    "remove-operator": LazyCommand(
        "multisite.cli.operators:remove_operator", "Remove an operator, and end their log-ins."
    ),
    "import-entries": LazyCommand(
        "multisite.cli.import_entries:import_entries_command",
        "Import Markdown files into a site of multisite.content.",
    ),
    "import-wordpress": LazyCommand(
        "multisite.cli.import_exports:import_wordpress_command",
        "Import a blog's posts from an export of WordPress into a site of multisite.content.",
    ),
    "import-ghost": LazyCommand(
        "multisite.cli.import_exports:import_ghost_command",
        "Import a blog's posts from an export of Ghost into a site of multisite.content.",
    ),
    "list-entries": LazyCommand(
        "multisite.cli.entries:list_entries", "List the entries of a site of multisite.content."
    ),
    "unpublish-entry": LazyCommand("multisite.cli.entries:unpublish_entry", "Make an entry a draft."),
    "delete-entry": LazyCommand(
        "multisite.cli.entries:delete_entry", "Delete an entry, and the redirects to it that an import made."
    ),
    "list-redirects": LazyCommand(
        "multisite.cli.redirects:list_redirects", "List the redirects of a site of multisite.content."
    ),
    "add-redirect": LazyCommand(
        "multisite.cli.redirects:add_redirect", "Redirect an address without a page, or change its redirect."
    ),
    "remove-redirect": LazyCommand("multisite.cli.redirects:remove_redirect", "Remove the redirect of an address."),
    "import-redirects": LazyCommand(
        "multisite.cli.redirects:import_redirects", "Add or change redirects from a CSV file, all of them or none."
    ),
    "export-redirects": LazyCommand(
        "multisite.cli.redirects:export_redirects",
        "Write the redirects of a site to a CSV file, which import-redirects reads.",
    ),
    "list-missing": LazyCommand(
        "multisite.cli.redirects:list_missing",
        "List the most requested addresses that have neither a page nor a redirect.",
    ),
    "add-preview": LazyCommand(
        "multisite.cli.previews:add_preview", "Make a link that shows a site with another theme or other settings."
    ),
    "list-previews": LazyCommand(
        "multisite.cli.previews:list_previews", "List the links that show a site with another layout."
    ),
    "remove-preview": LazyCommand(
        "multisite.cli.previews:remove_preview", "Withdraw a link that shows a site with another layout."
    ),
    "reindex-search": LazyCommand("multisite.cli.search:reindex_search", "Rebuild the search index of a site."),
    "list-media": LazyCommand("multisite.cli.media:list_media", "List the media of a site."),
    "add-media": LazyCommand("multisite.cli.media:add_media", "Add files to the media of a site."),
    "remove-media": LazyCommand(
        "multisite.cli.media:remove_media", "Remove files from the media of a site, all of them or none."
    ),
    "prune-media": LazyCommand("multisite.cli.media:prune_media", "Remove media files that belong to no site."),
}
"""All commands, in the order of `--help`. A test compares the summaries with the docstrings of the commands."""
