## What is shown instead of a page: 404 where there is nothing, 503 while the database is down, and so on.
## Variables: status, such as 404; error_text. A site has another one for all of them, or a 404.mako for that alone.
<%inherit file="layout.mako"/>
<h1>${title}</h1>
<p>${error_text}</p>
<p><a href="${home_url}">${text("back_home")}</a></p>
