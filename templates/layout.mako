## What every page inherits from. A site that wants another look puts a layout.mako of its own into its folder.
<%inherit file="base.mako"/>
