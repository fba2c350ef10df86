<%inherit file="frame.mako"/>
<%block name="title">${t("Change several sites")}</%block>
<%block name="crumb"><p class="crumb"><a href="${path('sites')}">${t("Sites")}</a></p></%block>
% if is_too_long:
<p class="message">${t("These are more than {number} sites. Limit the list by a search, a status or a theme.", number=maximum)}</p>
% elif not sites:
${parent.empty(t("No site is selected. Tick some in the list of sites."), path("sites"), t("Go to the sites"))}
% else:
<form method="post" action="${path('bulk')}" class="bulk">
  ${parent.csrf()}
  <input type="hidden" name="ids" value="${' '.join(str(each.id) for each in sites)}">
  <section class="card" aria-labelledby="which">
    <h2 id="which">${counted("sites", len(sites))}</h2>
    <ul class="plain chosen${' long' if len(sites) > 10 else ''}"${' tabindex="0"' if len(sites) > 10 else '' | n} aria-labelledby="which">
% for each in sites:
      <li><b>${each.domain}</b> <span>${each.name}</span> ${parent.pill(each.status)}</li>
% endfor
    </ul>
  </section>
  <fieldset class="card">
    <legend>${t("What is done to each of them")}</legend>
<%def name="choice(action)"><input type="radio" id="do-${action}" name="action" value="${action}" required${' checked' if chosen == action else '' | n}> <label for="do-${action}">${t(actions[action])}</label></%def>
    <div class="choice">${choice("maintain-site")}
      <p class="field"><label for="message">${t("Message")}</label>
      <input id="message" name="message" value="${values['message']}" maxlength="${maximum_message}" autocomplete="off"></p></div>
    <div class="choice">${choice("enable-site")}</div>
    <div class="choice">${choice("disable-site")}</div>
    <div class="choice">${choice("set-theme")}
      <p class="field"><label for="theme">${t("Theme")}</label>
      <select id="theme" name="theme">
        ${parent.option("", t("Without a theme"), values["theme"])}
% for each in themes:
        ${parent.option(each, each, values["theme"])}
% endfor
      </select></p></div>
    <div class="choice">${choice("set")}
      <p class="field"><label for="key">${t("Setting")}</label>
      <select id="key" name="key">
% for each in keys:
        ${parent.option(each, each, values["key"])}
% endfor
      </select></p>
      <p class="field"><label for="value">${t("Value")}</label>
      <input id="value" name="value" value="${values['value']}" autocomplete="off" spellcheck="false"></p></div>
% if keeps:
    <div class="choice">${choice("export-site")}
      <p class="check"><input type="checkbox" id="users" name="users" value="none"> <label for="users">${t("Without users")}</label></p></div>
% endif
  </fieldset>
  <p><button type="submit">${t("Do it to {number} sites", number=len(sites)) if len(sites) != 1 else t("Do it to 1 site")}</button></p>
  <p class="hint">${t("It is a job, which shows a result for each site. A site for which it fails does not stop the others.")}</p>
</form>
% endif
