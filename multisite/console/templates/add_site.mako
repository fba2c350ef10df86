<%inherit file="frame.mako"/>
<%block name="title">${t("Add a site")}</%block>
<form method="post" action="${path('add_site')}" class="card">
  ${parent.csrf()}
  <p class="field"><label for="host">${t("Domain")}</label>
  <input id="host" name="host" value="${texts['host']}" required maxlength="253" autocapitalize="none" spellcheck="false" autocomplete="off" aria-describedby="host-hint">
  <span class="hint" id="host-hint">${t("The canonical domain, such as garden.example. It cannot belong to another site.")}</span></p>
  <p class="field"><label for="name">${t("Name")}</label>
  <input id="name" name="name" value="${texts['name']}" maxlength="200" autocomplete="off"></p>
  <p class="field"><label for="aliases">${t("Further domains")}</label>
  <textarea id="aliases" name="aliases" rows="3" spellcheck="false" aria-describedby="aliases-hint">${texts['aliases']}</textarea>
  <span class="hint" id="aliases-hint">${t("One on each line. They show the same site.")}</span></p>
  <div class="two">
  <p class="field"><label for="locale">${t("Language")}</label>
  <select id="locale" name="locale">${options["locale"]}</select></p>
  <p class="field"><label for="timezone">${t("Time zone")}</label>
  <select id="timezone" name="timezone">${options["timezone"]}</select></p>
  </div>
  <p class="field"><label for="theme">${t("Theme")}</label>
  <select id="theme" name="theme">
    ${parent.option("", t("Without a theme"), texts["theme"])}
% for each in themes:
    ${parent.option(each, each, texts["theme"])}
% endfor
  </select></p>
  <h2>${t("The steps")}</h2>
  ${parent.add_steps(0)}
  <p><button type="submit">${t("Add the site")}</button></p>
  <p class="hint">${t("If it is interrupted, the site is listed as incomplete, and its page completes it.")}</p>
</form>
