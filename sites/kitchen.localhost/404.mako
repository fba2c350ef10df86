<%inherit file="layout.mako"/>
<div class="lost">
  <div class="entry-words">
    <h1>${title}</h1>
    <p>Somebody has eaten it, or it was never on the menu.</p>
    <p><a href="${home_url}">${text("back_home")}</a></p>
  </div>
  <div class="picture"><img src="${static_url("img/plate.svg")}" alt="" width="240" height="180"></div>
</div>
