<%inherit file="frame.mako"/>
<%block name="title">${t("Jobs")}</%block>
<%block name="actions"><a class="button quiet" href="${path('jobs')}">${t("Refresh")}</a></%block>
% if jobs:
<div class="card flush">
<table class="list">
  <thead><tr>
    <th scope="col">${t("Job")}</th><th scope="col">${t("Status")}</th><th scope="col">${t("Progress")}</th>
    <th scope="col">${t("Added")}</th><th scope="col"><span class="unseen">${t("Change")}</span></th>
  </tr></thead>
  <tbody>
% for each in jobs:
  <tr>
    <th scope="row">${each.id} ${each.arguments.get("action", each.kind)}<br><small>${each.site or each.arguments.get("host") or "–"}</small></th>
    <td><span class="pill job-${each.status}">${t(job_statuses[each.status])}</span></td>
    <td data-label="${t('Progress')}">
% if each.error:
      <span class="fault">${each.error}</span>
% elif each.result and "sites" in each.result:
      ${t("{number} sites, {failed} failed", number=len(each.result["sites"]), failed=each.result["failed"])}
      <ul class="plain">
% for site in each.result["sites"]:
% if site["error"]:
        <li>${site["site"]}: <span class="fault">${site["error"]}</span></li>
% endif
% endfor
      </ul>
% elif each.result:
      ${each.result.get("archive") or each.result.get("site") or "–"}
% elif each.cancel and not each.has_ended:
      ${t("Ends at its next step.")}
% else:
      ${each.progress or "–"}
% endif
    </td>
    <td data-label="${t('Added')}"><time datetime="${each.created.isoformat(timespec="seconds")}">${when(each.created)}</time><br><small>${each.who}</small></td>
    <td class="end">
% if may("run") and not each.has_ended and not each.cancel:
      <form method="post" action="${path('jobs')}" class="inline">
        ${parent.csrf()}
        <input type="hidden" name="job" value="${each.id}">
        <button type="submit" class="quiet small danger">${t("Cancel")}<span class="unseen"> ${t("job {number}", number=each.id)}</span></button>
      </form>
% endif
    </td>
  </tr>
% endfor
  </tbody>
</table>
</div>
% else:
<p class="empty">${t("There are no jobs. 'multisite work' does those that are added.")}</p>
% endif
