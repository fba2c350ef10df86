from notes import models
from notes.views.default import home
from notes.views.notfound import notfound


def test_home_with_a_real_request(app_request, dbsession):
    dbsession.add(models.Note(name="milk"))
    dbsession.flush()
    assert [note.name for note in home(app_request)["notes"]] == ["milk"]


def test_home_with_a_dummy_request(dummy_request, dbsession):
    assert home(dummy_request) == {"notes": []}
    dbsession.add(models.Note(name="bread"))
    dbsession.flush()
    assert [note.name for note in home(dummy_request)["notes"]] == ["bread"]


def test_notfound(app_request):
    assert notfound(app_request) == {}
    assert app_request.response.status_int == 404
