"""A small application as most Pyramid applications are, for one site."""

from pyramid.config import Configurator


def main(global_config, **settings):
    """Return the WSGI application."""
    with Configurator(settings=settings) as config:
        config.include('pyramid_mako')
        config.include('.routes')
        config.include('.models')
        config.scan()
    return config.make_wsgi_app()
