<%inherit file="layout.mako"/>
<h1>${title}</h1>
<p>Nothing has come up here. It may have been moved to another bed, or eaten in the night.</p>
<p><a href="${home_url}">${text("back_home")}</a>, or look through <a href="${archive_url}">everything that has been written down</a>.</p>
