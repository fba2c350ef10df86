<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("People")}</%block>
% if link:
<pre tabindex="0">${link}</pre>
% endif
<ul class="rows">
% for each in members:
  <li>
    <span>${each.login}<br><small>${t(role_texts[each.role]) if each.role in role_texts else each.role}${f" · {each.email}" if each.email else ""}${"" if each.password_hash else " · " + t("has not chosen a password")}</small></span>
    <details>
      <summary>${t("Change")}<span class="unseen"> ${each.login}</span></summary>
      <form method="post" action="${path('editor_people')}">
        ${parent.csrf()}
        <input type="hidden" name="login" value="${each.login}">
        <p class="field"><label for="role-${each.id}">${t("Role")}</label>${role_list(f"role-{each.id}", each.role)}</p>
        <p><button type="submit" name="action" value="role" class="quiet">${t("Change the role")}</button></p>
        <p><button type="submit" name="action" value="reset" class="quiet">${t("Remove the password, and make a link for a new one")}</button></p>
% if each.id != own.id:
        <p class="check"><input type="checkbox" id="sure-${each.id}" name="sure" value="1"> <label for="sure-${each.id}">${t("Yes, remove {login}. Their texts stay.", login=each.login)}</label></p>
        <p><button type="submit" name="action" value="remove" class="quiet">${t("Remove")}</button></p>
% endif
      </form>
    </details>
  </li>
% endfor
</ul>
<h2>${t("Invite somebody")}</h2>
<form method="post" action="${path('editor_people')}">
  ${parent.csrf()}
  <p class="field"><label for="login">${t("Login")}</label>
  <input id="login" name="login" required maxlength="254" autocomplete="off" autocapitalize="none" spellcheck="false"></p>
  <p class="field"><label for="email">${t("E-mail address, if the link is to be sent")}</label>
  <input id="email" name="email" type="email" maxlength="254" autocomplete="off"></p>
  <p class="field"><label for="role">${t("Role")}</label>${role_list("role", "author")}</p>
  <p><button type="submit" name="action" value="invite">${t("Invite")}</button></p>
</form>

<%def name="role_list(id, chosen)">
<select id="${id}" name="role">
% for role in roles:
  <option value="${role}"${' selected' if role == chosen else '' | n}>${t(role_texts[role])}</option>
% endfor
</select>
</%def>
