from myapp import models
from myapp.views.default import home
from myapp.views.notfound import notfound


def test_home_with_a_real_request(app_request, dbsession):
    dbsession.add(models.MyModel(name="milk"))
    dbsession.flush()
    assert [model.name for model in home(app_request)["models"]] == ["milk"]


def test_home_with_a_dummy_request(dummy_request, dbsession):
    assert home(dummy_request) == {"models": []}
    dbsession.add(models.MyModel(name="bread"))
    dbsession.flush()
    assert [model.name for model in home(dummy_request)["models"]] == ["bread"]


def test_notfound(app_request):
    assert notfound(app_request) == {}
    assert app_request.response.status_int == 404
