import sqlalchemy as sa
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.view import view_config

from .. import models


@view_config(route_name="home", renderer="notes:templates/home.mako")
def home(request):
    notes = request.dbsession.scalars(sa.select(models.Note).order_by(models.Note.name))
    return {"notes": notes.all()}


@view_config(route_name="add", request_method="POST")
def add(request):
    request.dbsession.add(models.Note(name=request.POST["name"], text=request.POST.get("text")))
    return HTTPSeeOther(request.route_url("home"))
