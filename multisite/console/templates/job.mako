<%inherit file="frame.mako"/>
<%namespace name="parts" file="job_parts.mako"/>
<%block name="title">${t("Job {number}", number=job.id)}: ${t(kinds.get(kind_of(job), kind_of(job)))}</%block>
<%block name="actions"><a class="button quiet" href="${path('job', id=job.id)}">${t("Refresh")}</a></%block>
<%block name="crumb"><p class="crumb"><a href="${path('jobs')}">${t("Jobs")}</a></p></%block>
<div id="progress"${'' if job.has_ended else ' data-progress' | n}>
<section class="card" aria-labelledby="state">
  <h2 id="state">${parts.state(job)}</h2>
% if job.has_ended or job.progress or job.cancel:
  <p role="status">${parts.outcome(job)}</p>
% endif
% if job.kind == "bulk":
  <progress max="${len(job.arguments['hosts'])}" value="${len(results)}" aria-label="${t('Sites done')}"></progress>
% endif
  <dl>
% if subject_of(job):
    <dt>${t("Site")}</dt><dd>${subject_of(job)}</dd>
% endif
% if job.arguments.get("new_host"):
    <dt>${t("New domain")}</dt><dd>${job.arguments["new_host"]}</dd>
% endif
    <dt>${t("Added")}</dt><dd>${when(job.created)}, ${job.who}</dd>
% if job.started:
    <dt>${t("Begun")}</dt><dd>${when(job.started)}${", " + t("the {number}. time", number=job.attempts) if job.attempts > 1 else ""}</dd>
% endif
% if job.ended:
    <dt>${t("Ended")}</dt><dd>${when(job.ended)}</dd>
% endif
  </dl>
% if export:
% if may("everything"):
  <p class="apart"><a class="button" href="${path('export', id=site_id, name=export.name)}">${t("Download the archive")}</a></p>
% else:
  <p class="hint">${t("The role everything may download the archive: it has the passwords of users, as hashes.")}</p>
% endif
% endif
% if not job.has_ended and not job.cancel and may("run"):
  <form method="post" action="${path('jobs')}" class="apart">
    ${parent.csrf()}
    <input type="hidden" name="job" value="${job.id}">
    <button type="submit" class="quiet danger">${t("Cancel the job")}</button>
  </form>
% endif
% if job.status == "waiting":
  <p class="hint">${t("It waits for a worker: the command multisite work.")}</p>
% endif
</section>
% if results or left:
<div class="card flush">
<table class="list">
  <thead><tr><th scope="col">${t("Site")}</th><th scope="col">${t("Result")}</th></tr></thead>
  <tbody>
% for each in results:
  <tr><th scope="row">${each["site"]}</th><td data-label="${t('Result')}">\
% if each["error"]:
<span class="fault">${each["error"]}</span>\
% else:
<span class="pill job-done">${t("Done")}</span>\
% endif
</td></tr>
% endfor
% for host in left:
  <tr><th scope="row">${host}</th><td data-label="${t('Result')}">${t("Not done") if job.has_ended else "–"}</td></tr>
% endfor
  </tbody>
</table>
</div>
% endif
</div>
% if not job.has_ended:
<script src="${script_path}" defer></script>
% endif
