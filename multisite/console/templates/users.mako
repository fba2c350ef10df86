<%inherit file="site_frame.mako"/>
<%def name="tab()">${t("Users")}</%def>
${parent.given_link(t("Give them this link to choose a password. It works once, and is shown once:"), link)}
% if members:
<p class="lead">${counted("users", len(members))}</p>
% endif
<ul class="rows card">
% for id, login, email, role, has_password in members:
  <li>
    <div class="member"><span class="initial" aria-hidden="true">${login[:1].upper()}</span><span class="names"><b>${login}</b><small>${t(roles[role]) if role in roles else role}${f" · {email}" if email else ""}</small></span>\
% if not has_password:
 <span class="pill pending">${t("has not chosen a password")}</span>\
% endif
</div>
% if may("everything"):
    <div class="inline">
% if can_sign_in:
    <form method="post" action="${path('sign_in', id=site.id)}" class="inline">
      ${parent.csrf()}
      <input type="hidden" name="login" value="${login}">
      <button type="submit" class="quiet" aria-label="${t('Sign in as {login}', login=login)}">${t("Sign in")}</button>
    </form>
% endif
    <details>
      <summary class="button quiet">${t("Change")}<span class="unseen"> ${login}</span></summary>
      <form method="post" action="${path('users', id=site.id)}">
        ${parent.csrf()}
        <input type="hidden" name="login" value="${login}">
        <p class="field"><label for="role-${id}">${t("Role")}</label>
        <select id="role-${id}" name="role">
% for each in roles:
          ${parent.option(each, t(roles[each]), role)}
% endfor
        </select></p>
        <p class="actions"><button type="submit" name="action" value="set-role" class="quiet">${t("Change the role")}</button>
        <button type="submit" name="action" value="reset-password" class="quiet">${t("Remove the password, and make a link for a new one")}</button></p>
        <p class="check"><input type="checkbox" id="sure-${id}" name="sure" value="1"> <label for="sure-${id}">${t("Yes, remove {login}. Their texts stay.", login=login)}</label></p>
        <p><button type="submit" name="action" value="remove-user" class="quiet danger">${t("Remove")}</button></p>
      </form>
    </details>
    </div>
% endif
  </li>
% endfor
% if not members:
  <li class="empty">${t("The site has no users.")}</li>
% endif
</ul>
% if may("everything") and is_ready:
<section class="card" aria-labelledby="add-user">
<h2 id="add-user">${t("Add a user")}</h2>
<form method="post" action="${path('users', id=site.id)}" class="filters">
  ${parent.csrf()}
  <p class="field wide"><label for="login">${t("Login")}</label><input id="login" name="login" required maxlength="254" autocomplete="off" autocapitalize="none" spellcheck="false"></p>
  <p class="field wide"><label for="email">${t("E-mail address")}</label><input id="email" name="email" type="email" maxlength="254" autocomplete="off"></p>
  <p class="field"><label for="role">${t("Role")}</label>
  <select id="role" name="role">
% for each in roles:
    ${parent.option(each, t(roles[each]), "author")}
% endfor
  </select></p>
  <p class="field"><button type="submit" name="action" value="add-user">${t("Add")}</button></p>
</form>
</section>
% endif
