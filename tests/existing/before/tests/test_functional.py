import sqlalchemy as sa

from myapp import models


def test_the_home_page_lists_the_models(testapp, dbsession):
    dbsession.add(models.MyModel(name="milk"))
    dbsession.flush()
    assert "<li>milk</li>" in testapp.get("/", status=200)


def test_a_model_is_added(testapp, dbsession):
    testapp.post("/add", {"name": "bread"}, status=303)
    assert dbsession.scalars(sa.select(models.MyModel.name)).all() == ["bread"]


def test_a_page_that_is_not_there(testapp):
    assert "There is no such page." in testapp.get("/nowhere", status=404)
