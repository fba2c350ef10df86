## What is shown, with status 404, where there is nothing.
<%inherit file="layout.mako"/>
<h1>${title}</h1>
<p>${text("not_found_text")}</p>
<p><a href="${home_url}">${text("back_home")}</a></p>
