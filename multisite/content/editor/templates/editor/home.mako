<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Editor")}</%block>
<p>${t("You are logged in as {login}.", login=user.login)}</p>
