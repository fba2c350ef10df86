<%inherit file="frame.mako"/>
<%block name="title">${t("Log out")}</%block>
<form method="post" action="${path('logout')}" class="card narrow">
  ${parent.csrf()}
  <p>${t("You are logged in as {login}.", login=operator.login)}</p>
  <p><button type="submit">${t("Log out")}</button></p>
</form>
