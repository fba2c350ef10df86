<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Choose a password")}</%block>
<p>${t("Your login at {site} is {login}.", site=site.name, login=new_user.login)}</p>
<form method="post">
  <input type="hidden" name="login" value="${new_user.login}" autocomplete="username">
  ${parent.new_password()}
  <p><button type="submit">${t("Save the password and log in")}</button></p>
</form>
