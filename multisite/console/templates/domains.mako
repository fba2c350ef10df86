<%inherit file="site_frame.mako"/>
<%def name="tab()">${t("Domains")}</%def>
<div class="card flush">
<table class="list">
  <thead><tr><th scope="col">${t("Domain")}</th><th scope="col">${t("Kind")}</th><th scope="col">${t("Last check")}</th><th scope="col"><span class="unseen">${t("Change")}</span></th></tr></thead>
  <tbody>
% for each in record.domains:
  <tr>
    <th scope="row">${each.host}</th>
    <td><span class="pill ${each.kind}">${t("canonical") if each.kind == "canonical" else t("redirect") if each.kind == "redirect" else t("alias")}</span></td>
    <td data-label="${t('Last check')}">
<% check = checks.get(each.host) %>\
% if check is None:
      –
% else:
      ${t(dns_texts[check.dns])}<br>
      ${t(certificate_texts[check.certificate], day=when(check.certificate_until, "date") if check.certificate_until else "")}<br>
      <small>${when(check.checked)}</small>
% if check.found or check.expected:
      <dl class="pair"><dt>${t("Found")}</dt><dd>${", ".join(check.found) or "–"}</dd>
% if check.expected:
      <dt>${t("Expected")}</dt><dd>${", ".join(check.expected)}</dd>
% endif
      </dl>
% endif
% if check.message and not check.is_good:
      <span class="fault">${check.message}</span>
% endif
% endif
    </td>
    <td class="end">
% if may("run") and is_ready and each.kind != "canonical":
    <form method="post" action="${path('domains', id=site.id)}" class="inline">
      ${parent.csrf()}
      <input type="hidden" name="host" value="${each.host}">
      <input type="hidden" name="kind" value="redirect">
% if not each.host.startswith("*"):
      <button type="submit" class="quiet" name="action" value="canonical">${t("Make canonical")}<span class="unseen"> ${each.host}</span></button>
% endif
      <button type="submit" class="quiet" name="action" value="remove">${t("Remove")}<span class="unseen"> ${each.host}</span></button>
    </form>
% endif
    </td>
  </tr>
% endfor
  </tbody>
</table>
</div>
% if records:
<section class="card" aria-labelledby="dns">
<h2 id="dns">${t("What DNS should have")}</h2>
<pre tabindex="0">${records}</pre>
<p class="hint">${t("From multisite.public_addresses.")}</p>
</section>
% endif
% if may("run"):
<form method="post" action="${path('domains', id=site.id)}" class="after">
  ${parent.csrf()}
  <button type="submit" class="quiet" name="action" value="check">${t("Check now")}</button>
</form>
% endif
% if may("run") and is_ready:
<section class="card" aria-labelledby="add-domain">
<h2 id="add-domain">${t("Add a domain")}</h2>
<form method="post" action="${path('domains', id=site.id)}" class="filters">
  ${parent.csrf()}
  <p class="field wide"><label for="host">${t("Domain")}</label>
  <input id="host" name="host" value="${host}" required maxlength="460" autocapitalize="none" spellcheck="false" autocomplete="off"></p>
  <p class="field wide"><label for="kind">${t("Kind")}</label>
  <select id="kind" name="kind"><option value="alias">${t("Alias: shows the site")}</option><option value="redirect">${t("Redirect to the canonical domain")}</option></select></p>
  <p class="field"><button type="submit" name="action" value="add">${t("Add")}</button></p>
</form>
<p class="hint">${t("When another domain becomes canonical, the former one redirects to it.")}</p>
</section>
% endif
