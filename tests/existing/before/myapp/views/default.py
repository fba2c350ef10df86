import sqlalchemy as sa
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.view import view_config

from .. import models


@view_config(route_name="home", renderer="myapp:templates/home.mako")
def home(request):
    found = request.dbsession.scalars(sa.select(models.MyModel).order_by(models.MyModel.name))
    return {"models": found.all()}


@view_config(route_name="add", request_method="POST")
def add(request):
    request.dbsession.add(models.MyModel(name=request.POST["name"]))
    return HTTPSeeOther(request.route_url("home"))
