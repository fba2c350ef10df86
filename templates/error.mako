## Error pages: 404 if there is no such page, 503 while the database is down, and so on.
## Variables: status, such as 404; error_text. A site may replace this file, or add a 404.mako for that status alone.
<%inherit file="layout.mako"/>
<h1>${title}</h1>
<p>${error_text}</p>
<p><a href="${home_url}">${text("back_home")}</a></p>
