"""Put a first note into the database: `initialize_notes_db development.ini`."""

import sys

from pyramid.paster import bootstrap, setup_logging

from .. import models


def main(argv=sys.argv):
    setup_logging(argv[1])
    with bootstrap(argv[1]) as env:
        request = env["request"]
        with request.tm:
            request.dbsession.add(models.Note(name="welcome", text="The first note."))
