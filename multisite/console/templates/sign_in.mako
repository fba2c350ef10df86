<%inherit file="site_frame.mako"/>
<%def name="tab()">${t("Users")}</%def>
<div class="card">
<h2>${t("Sign in as {login}", login=login)}</h2>
<p>${t("This link is good once, for {seconds} seconds. What you do on the site is logged under your name.", seconds=seconds)}</p>
<p><a class="button" href="${link}">${t("Go to {domain}", domain=site.domain)}</a></p>
</div>
