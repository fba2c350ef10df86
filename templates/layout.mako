## The base of every page. A site changes it with its own layout.mako in its folder.
<%inherit file="base.mako"/>
