<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Log out")}</%block>
<form method="post" action="${path('editor_logout')}">
  ${parent.csrf()}
  <p><button type="submit">${t("Log out")}</button></p>
</form>
