import sqlalchemy as sa

from notes import models


def test_the_home_page_lists_the_notes(testapp, dbsession):
    dbsession.add(models.Note(name="milk"))
    dbsession.flush()
    assert "<li>milk</li>" in testapp.get("/", status=200)


def test_a_note_is_added(testapp, dbsession):
    testapp.post("/add", {"name": "bread"}, status=303)
    assert dbsession.scalars(sa.select(models.Note.name)).all() == ["bread"]


def test_a_page_that_is_not_there(testapp):
    assert "There is no such page." in testapp.get("/nowhere", status=404)
