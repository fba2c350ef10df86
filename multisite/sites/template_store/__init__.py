"""The store of templates (`multisite.templates_store`), from which each machine copies the folders of sites.

`trees` describes the files of a folder, `store` reads and writes them at a URL, `mirror` keeps the local folders equal
to the store, and `changes` has the calls by which commands and jobs do so. `multisite.web.template_store` keeps the
folders of a server.
"""
