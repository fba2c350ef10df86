"""Put a first row into the database: `initialize_myapp_db development.ini`."""

import argparse
import sys

from pyramid.paster import bootstrap, setup_logging

from .. import models


def parse_args(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument('config_uri', help='Configuration file, e.g., development.ini')
    return parser.parse_args(argv[1:])


def main(argv=sys.argv):
    args = parse_args(argv)
    setup_logging(args.config_uri)
    env = bootstrap(args.config_uri)
    with env['request'].tm:
        env['request'].dbsession.add(models.MyModel(name='one', value=1))
