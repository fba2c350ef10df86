<%inherit file="frame.mako"/>
<%block name="title">${t("Account of {login}", login=operator.login)}</%block>
<section class="card" aria-labelledby="log-ins">
<h2 id="log-ins">${t("Log-ins")}</h2>
<ul class="rows">
% for each in log_ins:
  <li>
    <span>${each.agent or t("Unknown browser")}<br><small>${t("Last used {when}", when=when(each.seen))}</small></span>
% if each.id == own:
    <strong>${t("This browser")}</strong>
% else:
    <form method="post" action="${path('end_log_in', id=each.id)}">
      ${parent.csrf()}
      <button type="submit" class="quiet">${t("End")}<span class="unseen"> ${each.agent}</span></button>
    </form>
% endif
  </li>
% endfor
</ul>
</section>
<section class="card" aria-labelledby="new-password">
<h2 id="new-password">${t("Password")}</h2>
<form method="post" action="${path('account')}">
  ${parent.csrf()}
  ${parent.new_password()}
  <p><button type="submit">${t("Change the password, and end all other log-ins")}</button></p>
</form>
</section>
