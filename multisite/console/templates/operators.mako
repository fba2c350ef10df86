<%inherit file="frame.mako"/>
<%block name="title">${t("Operators")}</%block>
${parent.given_link(t("Give them this link to choose a password and set up codes. It works once, for {days} days, and is shown once:", days=days), link)}
<ul class="rows card">
% for each in operators:
  <li>
    <span><b>${each.login}</b><br><small>${t(roles[each.role])}${"" if each.has_password else " · " + t("has not chosen a password")}</small></span>
% if each.login == operator.login:
    <span class="pill active">${t("You")}</span>
% else:
    <details>
      <summary class="button quiet">${t("Change")}<span class="unseen"> ${each.login}</span></summary>
      <form method="post" action="${path('operators')}">
        ${parent.csrf()}
        <input type="hidden" name="login" value="${each.login}">
        <p class="field"><label for="role-${each.id}">${t("Role")}</label>${role_list(f"role-{each.id}", each.role)}</p>
        <p class="actions"><button type="submit" name="action" value="role" class="quiet">${t("Change the role")}</button>
        <button type="submit" name="action" value="reset" class="quiet">${t("Remove the password, and make a link for a new one")}</button></p>
        <p class="check"><input type="checkbox" id="sure-${each.id}" name="sure" value="1"> <label for="sure-${each.id}">${t("Yes, remove {login}.", login=each.login)}</label></p>
        <p><button type="submit" name="action" value="remove" class="quiet danger">${t("Remove")}</button></p>
      </form>
    </details>
% endif
  </li>
% endfor
</ul>
<section class="card" aria-labelledby="add-operator">
<h2 id="add-operator">${t("Add an operator")}</h2>
<form method="post" action="${path('operators')}" class="filters">
  ${parent.csrf()}
  <p class="field wide"><label for="login">${t("Login")}</label><input id="login" name="login" required maxlength="254" autocomplete="off" autocapitalize="none" spellcheck="false"></p>
  <p class="field wide"><label for="role">${t("Role")}</label>${role_list("role", "look")}</p>
  <p class="field"><button type="submit" name="action" value="add">${t("Add")}</button></p>
</form>
</section>

<%def name="role_list(id, chosen)">
<select id="${id}" name="role">
% for each, text in roles.items():
  ${parent.option(each, t(text), chosen)}
% endfor
</select>
</%def>
