<%inherit file="frame.mako"/>
<%block name="title">${heading}</%block>
<p class="lead">${t(explanation) if explanation else ""}</p>
<p><a class="button" href="/">${t("To the sites")}</a></p>
