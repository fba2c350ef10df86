<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Your text")}</%block>
<p>${t("You are logged in again, and nothing is lost. Save the text to go on.")}</p>
<form method="post" action="${after}">
  ${parent.csrf()}
% for name, value in kept.items():
  <input type="hidden" name="${name}" value="${value}">
% endfor
  <p><button type="submit">${t("Save")}</button></p>
</form>
<pre tabindex="0">${kept.get("body", "")}</pre>
