<%inherit file="frame.mako"/>
<%namespace name="parts" file="job_parts.mako"/>
<%block name="title">${t("Jobs")}</%block>
<%block name="actions"><a class="button quiet" href="${path('jobs')}">${t("Refresh")}</a></%block>
<div id="progress"${' data-progress' if any(not each.has_ended for each in jobs) else '' | n}>
% if jobs:
<div class="card flush">
<table class="list">
  <thead><tr>
    <th scope="col">${t("Job")}</th><th scope="col">${t("Status")}</th><th scope="col">${t("Result")}</th>
    <th scope="col">${t("Added")}</th><th scope="col"><span class="unseen">${t("Change")}</span></th>
  </tr></thead>
  <tbody>
% for each in jobs:
  <tr>
    <th scope="row"><a href="${path('job', id=each.id)}"><span class="names"><b>${t(kinds.get(kind_of(each), kind_of(each)))}<span class="unseen">, ${t("job {number}", number=each.id)}</span></b><small>\
% if subject_of(each) is None and "hosts" in each.arguments:
${counted("sites", len(each.arguments["hosts"]))}\
% else:
${subject_of(each) or "–"}\
% endif
</small></span></a></th>
    <td>${parts.state(each)}</td>
    <td data-label="${t('Result')}">${parts.outcome(each)}</td>
    <td data-label="${t('Added')}"><time datetime="${each.created.isoformat(timespec="seconds")}">${when(each.created)}</time><br><small>${each.who}</small></td>
    <td class="end">
% if may("run") and not each.has_ended and not each.cancel:
      <form method="post" action="${path('jobs')}" class="inline">
        ${parent.csrf()}
        <input type="hidden" name="job" value="${each.id}">
        <button type="submit" class="quiet danger">${t("Cancel")}<span class="unseen"> ${t("job {number}", number=each.id)}</span></button>
      </form>
% endif
    </td>
  </tr>
% endfor
  </tbody>
</table>
</div>
% else:
${parent.empty(t("No jobs yet. Long work on sites, such as an export or a copy, is listed here."), path("sites"), t("Go to the sites"))}
% endif
</div>
% if older:
<nav class="pages" aria-label="${t('Pages')}"><a class="button quiet" rel="next" href="${older}">${t("Older")} →</a></nav>
% endif
% if any(not each.has_ended for each in jobs):
<script src="${script_path}" defer></script>
% endif
