<%inherit file="frame.mako"/>
<%block name="title">${t("Removed sites")}</%block>
% if not keeps:
<p class="message">${t("No archives are kept, since multisite.archives_dir is not set.")}</p>
% endif
% if found:
<ul class="rows card">
% for each in found:
  <li>
    <span><b>${each.name}</b><br><small>${each.domain} · ${t("removed {removed}, kept until {until}", removed=when(each.removed, "date"), until=when(each.keep_until, "date"))}</small></span>
% if may("everything"):
    <form method="post" action="${path('removed')}" class="inline">
      ${parent.csrf()}
      <input type="hidden" name="domain" value="${each.domain}">
      <label class="unseen" for="new-${each.id}">${t("Another domain for {domain}", domain=each.domain)}</label>
      <input id="new-${each.id}" name="new_host" placeholder="${t('another domain')}" autocomplete="off" autocapitalize="none" spellcheck="false">
      <button type="submit" class="quiet">${t("Restore")}<span class="unseen"> ${each.domain}</span></button>
    </form>
% endif
  </li>
% endfor
</ul>
% else:
${parent.empty(t("No site can be restored.") + (" " + t("One that is removed is listed here for {days} days.", days=days) if keeps else ""), path("sites"), t("Go to the sites"))}
% endif
